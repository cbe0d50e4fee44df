//! What the tests of stores stand on: a real PostgreSQL of their own. No part of the program; who tests
//! a store, and who tests the program on one, meets the same server here.

mod postgres;
mod programs;

pub use postgres::Postgres;
