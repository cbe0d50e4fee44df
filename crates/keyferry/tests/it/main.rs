//! The program as its users meet it: a real process, a scripted provider, bytes on a wire.

mod admission;
mod audit;
mod canary;
mod cli;
mod config;
mod custody;
mod dns;
mod errors;
mod faults;
mod harden;
mod harness;
mod headers;
mod ingress;
mod jwt;
mod keytest;
mod lifecycle;
mod openapi;
mod sidecar;
mod stream;
mod tenants;
mod tls;
mod usage;
