//! Slots of secrets: a key comes out only as it came in, never the token, and nothing of either is in a refusal.
//!
//! The input is lines: the first says which provider, each other one is a header and its value.
#![no_main]

use std::sync::LazyLock;

use keyferry::fuzzing::gateway::slots;
use keyferry_core::{
    admission::Policy,
    headers::SECRET,
    limits::{Rate, RateLimits},
    provider::Providers,
    token::looks_like_token,
};
use keyferry_fuzz::find;
use libfuzzer_sys::fuzz_target;

const POLICY: Policy = Policy {
    enabled: true,
    held: true,
    carried: true,
    daily_quota: 1,
    rates: RateLimits {
        caller: Rate::Unlimited,
        tenant: Rate::Unlimited,
        tenant_provider: Rate::Unlimited,
        key_test: Rate::Unlimited,
    },
    session: true,
    sealed: true,
};

static PROVIDERS: LazyLock<Providers> = LazyLock::new(Providers::built_in);

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|&byte| byte == b'\n');
    let name = ["openai", "anthropic", "gemini"][lines.next().map_or(0, <[u8]>::len) % 3];
    let provider = PROVIDERS.get(name).expect("built in");
    let headers: Vec<(&'static str, &[u8])> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let name = SECRET.into_iter().find(|name| name.as_bytes() == &line[..colon])?;
            Some((name, &line[colon + 1..]))
        })
        .collect();
    match slots(&headers, provider, &POLICY) {
        Ok((token, key)) => {
            assert!(headers.iter().any(|(_, value)| find(value, &token).is_some() || token.is_empty()));
            if let Some((slot, key)) = key {
                assert!(!key.is_empty() && key != token);
                assert!(provider.own_slots().contains(&slot));
                let from = headers.iter().find(|(_, value)| find(value, &key).is_some());
                assert!(from.is_some(), "a key that did not come");
                assert!(key.iter().all(u8::is_ascii_graphic) && !looks_like_token(&key));
            }
        }
        Err(message) => {
            // Words of ours have no digits.
            let digits = |value: &[u8]| value.iter().filter(|byte| byte.is_ascii_digit()).count();
            for (_, value) in headers.iter().filter(|(_, value)| value.len() > 12 && digits(value) > 5) {
                assert!(find(message.as_bytes(), value).is_none(), "a refusal quotes what came");
            }
        }
    }
});
