//! What the tests of stores and counters stand on: real servers of their own, PostgreSQL and Redis. No part of the program; who
//! tests a store, and who tests the program on one, meets the same servers here.

mod postgres;
mod programs;
pub mod redis;

pub use postgres::Postgres;
