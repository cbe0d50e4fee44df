//! Answers that stream past: the meter and the events say the same however the bytes come.
#![no_main]

use keyferry::fuzzing::gateway::events;
use keyferry_core::{
    dialect::Dialect,
    meter::{Meter, Metered},
    usage::{TokenUsage, UsageSource},
};
use keyferry_fuzz::cut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((whole, pieces)) = cut(data) else { return };
    for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini] {
        for meter in [Meter::json, Meter::sse] {
            let metered = read(meter(dialect), &[whole]);
            assert_eq!(metered, read(meter(dialect), &pieces));
            assert!(metered.output_bytes <= whole.len() as u64);
            assert!(metered.source != UsageSource::None || metered.usage == TokenUsage::default());
        }
    }
    held(whole, &pieces);
});

fn read(mut meter: Meter, pieces: &[&[u8]]) -> Metered {
    pieces.iter().for_each(|piece| meter.feed(piece));
    meter.finish()
}

/// Nothing is lost or moved, and an event goes in only behind an empty line.
fn held(whole: &[u8], pieces: &[&[u8]]) {
    let (passed, rest) = events(pieces.iter().copied());
    let mut all = Vec::new();
    for (out, is_clean) in passed {
        all.extend_from_slice(&out);
        let ends = [&b"\n\n"[..], b"\r\r", b"\n\r", b"\n\r\n", b"\r\r\n"];
        assert!(!is_clean || all.is_empty() || ends.iter().any(|end| all.ends_with(end)));
    }
    assert_eq!([all, rest].concat(), whole);
}
