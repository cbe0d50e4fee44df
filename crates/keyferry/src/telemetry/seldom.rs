//! Keeps one cause that a thousand requests meet from writing a thousand lines.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets a line through once a second.
pub struct Seldom(Mutex<State>);

struct State {
    told_at: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Nothing was said yet.
    pub const fn new() -> Self {
        Self(Mutex::new(State { told_at: None, unsaid: 0 }))
    }

    /// Whether the line is to be written: then how many before it were not.
    pub fn say(&self) -> Option<u64> {
        self.say_at(Instant::now())
    }

    fn say_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told_at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            state.unsaid += 1;
            return None;
        }
        state.told_at = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_once_a_second_and_says_how_many_were_not() {
        let (seldom, start) = (Seldom::new(), Instant::now());
        let at = |millis| seldom.say_at(start + Duration::from_millis(millis));
        assert_eq!(
            [at(0), at(1), at(999), at(1000), at(1001), at(5000)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }
}
