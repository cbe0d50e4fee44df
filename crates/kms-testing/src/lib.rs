//! What the tests of roots stand on: a small Transit server with bad days on order, a real OpenBao,
//! the KMS of moto, and SoftHSM tokens. No part of the program; who tests a root, and who tests the
//! program on a root, meets the same servers here.

mod bench;
mod moto;
mod openbao;
mod operator;
mod pause;
pub mod softhsm;
pub mod transit;

pub use bench::{Bench, write_private};
pub use moto::Moto;
pub use openbao::OpenBao;
pub use operator::Operator;
