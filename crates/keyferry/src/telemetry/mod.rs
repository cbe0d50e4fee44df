//! What operators see: logs and metrics. Each name stands in one place.

mod line;
pub mod logs;
pub mod metrics;
mod seldom;
mod series;
mod sink;

pub use seldom::Seldom;
