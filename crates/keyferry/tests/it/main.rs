//! The program as its users meet it: a real process, a scripted provider, bytes on a wire.

mod admission;
mod audit;
mod canary;
mod checklist;
mod cli;
mod config;
mod custody;
mod dns;
mod errors;
mod faults;
mod harness;
mod headers;
mod ingress;
mod isolation;
mod jwt;
mod keytest;
mod lifecycle;
mod openapi;
mod secrecy;
mod statements;
mod stream;
mod tenants;
mod tls;
mod usage;
