//! Memory as it looks from outside.

mod heap;
mod stack;
