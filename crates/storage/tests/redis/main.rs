//! What only counters in Redis can do and suffer: real servers that are wrong, full, away, lost, and shared.

mod faults;
mod fitness;
mod loss;
mod shortcuts;
mod stage;
mod together;
mod way;
