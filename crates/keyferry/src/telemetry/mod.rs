//! What operators see: logs and metrics. Each name stands in one place.

mod json;
pub mod logs;
pub mod metrics;
mod seldom;
mod series;

pub use seldom::Seldom;
