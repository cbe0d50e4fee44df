//! The program as its users meet it: a real process, a scripted provider, bytes on a wire.

mod faults;
mod harness;
mod ingress;
mod lifecycle;
mod stream;
mod usage;
