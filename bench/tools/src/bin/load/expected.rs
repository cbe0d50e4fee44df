//! What an answer must be: byte for byte that of the provider, or, from a gateway that writes it anew, with its text whole.

use std::time::Duration;

use anyhow::{bail, ensure};
use bench_tools::script::{self, EVENTS, put_seed};
use memchr::memmem;

pub struct Expected {
    body: Vec<u8>,
    seeds: Vec<usize>,
    /// What stands in it one behind the other whoever wrote it.
    words: Vec<Vec<u8>>,
    exact: bool,
    /// How long it must take from the first event to the last at least, and in how many pieces it must come.
    spread: Option<(Duration, u32)>,
}

impl Expected {
    pub fn new(length: usize, stream: bool, wait_ms: u64, exact: bool) -> Self {
        if !stream {
            let (body, seed) = script::answer(length);
            return Self {
                body,
                seeds: vec![seed],
                words: vec![script::content(length)],
                exact,
                spread: None,
            };
        }
        let (mut body, mut seeds) = (Vec::new(), Vec::new());
        for number in 0..EVENTS {
            let (event, seed) = script::event(number);
            seeds.extend(seed.map(|seed| body.len() + seed));
            body.extend_from_slice(&event);
        }
        let mut words: Vec<Vec<u8>> =
            (0..EVENTS - 2).map(|number| script::word(number).into_bytes()).collect();
        words.push(b"data: [DONE]".to_vec());
        // Nine tenths of the time that the provider takes, and half of its pieces: a gateway that collects them is found out,
        // one that is late now and then is not.
        let gaps = (EVENTS - 1) as u64 * wait_ms;
        let spread = (wait_ms > 0).then(|| (Duration::from_millis(gaps * 9 / 10), EVENTS as u32 / 2));
        Self { body, seeds, words, exact, spread }
    }

    /// How much room an answer needs.
    pub fn length(&self) -> usize {
        self.body.len()
    }

    /// Looks at a whole answer. `own` is a place for bytes.
    pub fn check(&self, status: u16, body: &[u8], seed: u32, own: &mut Vec<u8>) -> anyhow::Result<()> {
        if status != 200 {
            bail!("status {status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
        }
        if self.exact {
            own.clear();
            own.extend_from_slice(&self.body);
            for place in &self.seeds {
                put_seed(&mut own[*place..], seed);
            }
            ensure!(body.len() == own.len(), "{} bytes instead of {}", body.len(), own.len());
            ensure!(body == own, "the answer is another one");
            return Ok(());
        }
        let mut rest = body;
        for word in &self.words {
            let Some(at) = memmem::find(rest, word) else { bail!("a part of the text is missing") };
            rest = &rest[at + word.len()..];
        }
        Ok(())
    }

    /// Whether a stream came as it was sent.
    pub fn is_spread(&self, took: Duration, pieces: u32) -> bool {
        self.spread.is_none_or(|(least, fewest)| took >= least && pieces >= fewest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u32 = 12_345_678;

    /// A stream as the provider sends it.
    fn stream() -> Vec<u8> {
        let events = (0..EVENTS).map(script::event).map(|(mut event, seed)| {
            if let Some(seed) = seed {
                put_seed(&mut event[seed..], SEED);
            }
            event
        });
        events.flatten().collect()
    }

    #[test]
    fn only_the_providers_bytes_for_this_request_are_right() {
        let expected = Expected::new(1024, true, 0, true);
        let mut own = Vec::new();
        assert!(expected.check(200, &stream(), SEED, &mut own).is_ok());
        assert!(expected.check(200, &stream(), SEED + 1, &mut own).is_err(), "another request's");
        assert!(expected.check(200, &stream()[1..], SEED, &mut own).is_err(), "cut");
        assert!(expected.check(500, &stream(), SEED, &mut own).is_err(), "another status");
        let mut changed = stream();
        changed[300] ^= 1;
        assert!(expected.check(200, &changed, SEED, &mut own).is_err(), "changed");
    }

    #[test]
    fn what_is_written_anew_must_have_the_whole_text() {
        let expected = Expected::new(1024, true, 0, false);
        let text = String::from_utf8(stream()).expect("text").replace(':', ": ");
        let mut own = Vec::new();
        assert!(expected.check(200, text.replace("data:  ", "data: ").as_bytes(), SEED, &mut own).is_ok());
        assert!(expected.check(200, text.replace(&script::word(7), "").as_bytes(), SEED, &mut own).is_err());
    }

    #[test]
    fn a_stream_that_was_collected_is_not_spread() {
        let expected = Expected::new(1024, true, 10, true);
        assert!(expected.is_spread(Duration::from_millis(185), 20));
        assert!(!expected.is_spread(Duration::from_millis(20), 20));
        assert!(!expected.is_spread(Duration::from_millis(185), 1));
    }
}
