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

    /// Looks at how a stream came.
    pub fn check_spread(&self, took: Duration, pieces: u32) -> anyhow::Result<()> {
        let Some((least, fewest)) = self.spread else { return Ok(()) };
        ensure!(took >= least, "a stream came within {took:?}, not spread over {least:?}");
        ensure!(pieces >= fewest, "a stream came in {pieces} pieces");
        Ok(())
    }
}
