//! The program as its users meet it: a real process, a scripted provider, bytes on a wire.

mod harness;
mod ingress;
mod stream;
