//! The parts of a request's way that compute, each alone: which of them a change made slower.
//!
//! `cargo bench -p bench-micro` in `bench/`; a name behind `--` picks some.

#![expect(clippy::expect_used, reason = "what is measured works, or there is nothing to measure")]

use bench_tools::script;
use divan::{Bencher, black_box, counter::BytesCount};
use keyferry_core::{body, dialect::Dialect, meter::Meter, token};
use keyferry_envelope::{
    ApiKey, Context, KekId, Kem, Kid, Opener, SealFor, SealPurpose, Sealed, SealedKey, SealingKey,
    SecretBytes, SystemEntropy, TenantKek, capabilities, seal_key,
};
use keyferry_secretmem::WipingHeap;

/// As in the program: what is freed is wiped, and that is part of what everything costs.
#[global_allocator]
static HEAP: WipingHeap = WipingHeap;

const CONTEXT: Context<'static> = Context {
    tenant: "acme",
    provider: "openai",
    origin: "https://api.openai.com",
    credential: "cred_01",
    version: 1,
};

fn main() {
    divan::main();
}

fn key() -> ApiKey {
    ApiKey::parse(SecretBytes::new(b"sk-example-0123456789abcdef0123456789abcdef0123456789".to_vec()))
        .expect("a key")
}

/// A stored key and what opens it.
fn stored() -> (Opener, TenantKek, Sealed) {
    let (sealer, opener, _) = capabilities();
    let kek = TenantKek::generate(KekId::new("kek_1"), &SystemEntropy);
    let stored = sealer.seal(&kek, &CONTEXT, &key(), &SystemEntropy).expect("sealed");
    (opener, kek, stored)
}

/// As for most requests: its KEK has opened it before.
#[divan::bench]
fn open_a_stored_key(bencher: Bencher) {
    let (opener, kek, sealed) = stored();
    bencher.bench_local(|| opener.open(&kek, &CONTEXT, black_box(&sealed)).expect("opens"));
}

#[divan::bench]
fn open_a_stored_key_for_the_first_time(bencher: Bencher) {
    let (opener, kek, sealed) = stored();
    let unused = || {
        TenantKek::from_secret(kek.id().clone(), SecretBytes::copy_of(kek.secret().expose()))
            .expect("32 bytes")
    };
    bencher
        .with_inputs(unused)
        .bench_local_refs(|kek| opener.open(kek, &CONTEXT, black_box(&sealed)).expect("opens"));
}

#[divan::bench(args = [Kem::X25519, Kem::P256])]
fn open_a_sealed_key(bencher: Bencher, kem: Kem) {
    let sealing = SealingKey::generate(kem, &SystemEntropy);
    let kid = Kid::parse("kid_1").expect("a name");
    let sealed_for =
        SealFor { purpose: SealPurpose::Request, tenant: "acme", provider: "openai", ts: 1_790_000_000 };
    let text = seal_key(sealing.public(), &kid, &sealed_for, &key(), &SystemEntropy).expect("seals");
    bencher.bench_local(|| {
        let sealed = SealedKey::parse(black_box(text.as_bytes())).expect("parses");
        sealed.open(&sealing, SealPurpose::Request, "acme").expect("opens")
    });
}

#[divan::bench]
fn read_and_compare_a_gateway_token(bencher: Bencher) {
    let minted = token::mint(&SystemEntropy);
    bencher.bench_local(|| {
        let presented = token::read(black_box(minted.text.expose())).expect("a token");
        assert!(presented.hash.matches(&minted.hash));
    });
}

#[divan::bench(args = [1_024, 102_400, 1_048_576])]
fn read_the_model_of_a_request(bencher: Bencher, length: usize) {
    let (question, _) = script::question(length, 1_024, false, 0);
    bencher
        .counter(BytesCount::new(question.len()))
        .bench_local(|| body::read_json(black_box(&question)).expect("reads"));
}

#[divan::bench(args = [1_024, 102_400, 1_048_576])]
fn meter_an_answer(bencher: Bencher, length: usize) {
    let (answer, _) = script::answer(length);
    bencher.counter(BytesCount::new(answer.len())).bench_local(|| {
        let mut meter = Meter::json(Dialect::OpenAi);
        meter.feed(black_box(&answer));
        let metered = meter.finish();
        assert!(metered.ended);
        metered
    });
}

#[divan::bench]
fn meter_a_stream_of_20_events(bencher: Bencher) {
    let events: Vec<Vec<u8>> = (0..script::EVENTS).map(|number| script::event(number).0).collect();
    bencher.counter(BytesCount::new(events.concat().len())).bench_local(|| {
        let mut meter = Meter::sse(Dialect::OpenAi);
        for event in &events {
            meter.feed(black_box(event));
        }
        let metered = meter.finish();
        assert!(metered.ended);
        metered
    });
}
