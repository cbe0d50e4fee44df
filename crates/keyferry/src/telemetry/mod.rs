//! What operators see: logs and metrics. Each name stands in one place.

pub mod logs;
pub mod metrics;
mod seldom;

pub use seldom::Seldom;
