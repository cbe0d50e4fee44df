//! keyferry: a bring-your-own-key gateway for AI providers.
//!
//! The way of a request, by folder:
//!
//! | folder | holds |
//! |---|---|
//! | [`http`] | listeners, the ingress guard, the route table |
//! | [`gateway`] | authenticate → admit → unseal → forward → relay → settle |
//! | [`upstream`] | the one way out: dial, prove the name, put the key in |
//! | [`admin`] | the control plane, one file an operation |
//! | [`custody`] | who may seal and who may open |
//! | [`harden`] | what the process takes from others and from itself |
//! | [`sidecar`] | a socket beside an application, which takes keys and seals them |
//! | [`socket`] | Unix sockets at their places, and who may reach them |
//! | [`workers`] | the threads that serve |
//! | [`config`], [`cli`], [`telemetry`] | around it |
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod counting;
pub mod custody;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
pub mod harden;
pub mod http;
pub mod journaling;
pub mod lifecycle;
pub mod orders;
pub mod sidecar;
pub mod single;
pub mod socket;
pub mod start;
pub mod telemetry;
pub mod upstream;
pub mod workers;
