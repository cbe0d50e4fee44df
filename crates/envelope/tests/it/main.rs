//! What the public interface promises, tried from outside.

mod bound;
mod fixture;
mod opaque;
mod rewrap;
mod seal;
mod sealed_key;
mod tamper;
mod vectors;
