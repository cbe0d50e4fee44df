//! Late injection: however little the wire takes, what leaves is the request with the key in its header, once.
#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use keyferry::fuzzing::upstream::{Step, write};
use keyferry_core::provider::AuthSlot;
use keyferry_envelope::{ApiKey, SecretBytes};
use keyferry_fuzz::find;
use libfuzzer_sys::fuzz_target;

const KEY: &[u8] = b"sk-test-not-a-real-key!";

static KEY_OF: LazyLock<Arc<ApiKey>> =
    LazyLock::new(|| Arc::new(ApiKey::parse(SecretBytes::new(KEY.to_vec())).unwrap()));

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    slot: u8,
    path: &'a str,
    headers: Vec<(&'a [u8], &'a [u8])>,
    body: &'a [u8],
    steps: Vec<u8>,
}

fuzz_target!(|input: Input<'_>| {
    let slot = [AuthSlot::Bearer, AuthSlot::XApiKey, AuthSlot::XGoogApiKey][usize::from(input.slot % 3)];
    let steps =
        input.steps.iter().map(|&step| if step == 0 { Step::Wait } else { Step::Take(step) }).collect();
    let key = (slot, Arc::clone(&KEY_OF));
    let Some(seen) = write(input.path, input.headers.iter().copied(), key, input.body, steps) else { return };

    let end = find(&seen, b"\r\n\r\n").expect("a head has an end") + 4;
    assert_eq!(&seen[end..], input.body, "what follows the head is the body");
    let mut fields = [httparse::EMPTY_HEADER; 4096];
    let mut read = httparse::Request::new(&mut fields);
    if input.headers.len() > 4000 {
        return;
    }
    assert_eq!(read.parse(&seen), Ok(httparse::Status::Complete(end)), "the head is one head");
    assert_eq!((read.method, read.path, read.version), (Some("POST"), Some(input.path), Some(1)));
    // The client's come first, as many as there were; then the key's and the one of the body.
    let own = &read.headers[1 + input.headers.len()..];
    let value = [slot.scheme().as_bytes(), KEY].concat();
    assert_eq!((own[0].name, own[0].value), (slot.header(), value.as_slice()));
    assert_eq!((own[1].name, own[1].value), ("content-length", input.body.len().to_string().as_bytes()));
    assert_eq!(own.len(), 2);
});
