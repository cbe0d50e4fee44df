//! A world with two roots, two tenant keys and one sealed key, the same in every run.

use std::sync::{LazyLock, Mutex};

use keyferry_envelope::{
    ApiKey, Context, Entropy, KekId, LocalRoot, OpenError, Sealed, SecretBytes, TenantKek, capabilities,
};

pub(crate) const KEY: &str = "sk-test-not-a-real-key-0123456789abcdef";

pub(crate) const CONTEXT: Context<'static> = Context {
    tenant: "tenant-a",
    provider: "anthropic",
    origin: "https://api.anthropic.com",
    credential: "cred-1",
    version: 1,
};

/// Bytes that count up from a start: no randomness at all, and no two draws alike.
pub(crate) struct FixedEntropy(Mutex<u8>);

impl FixedEntropy {
    pub(crate) fn starting_at(start: u8) -> Self {
        Self(Mutex::new(start))
    }
}

impl Entropy for FixedEntropy {
    fn fill(&self, buf: &mut [u8]) {
        let mut next = self.0.lock().expect("not poisoned");
        for byte in buf {
            *byte = *next;
            *next = next.wrapping_add(1);
        }
    }
}

/// The root with the bytes 00, 01, .. 1f.
pub(crate) fn root() -> LocalRoot {
    LocalRoot::generate(&FixedEntropy::starting_at(0x00))
}

/// The root with the bytes 40, 41, .. 5f.
pub(crate) fn other_root() -> LocalRoot {
    LocalRoot::generate(&FixedEntropy::starting_at(0x40))
}

/// The KEK with the bytes 80, 81, .. 9f.
pub(crate) fn kek() -> TenantKek {
    TenantKek::generate(KekId::new("kek_1"), &FixedEntropy::starting_at(0x80))
}

/// The KEK with the bytes a0, a1, .. bf.
pub(crate) fn other_kek() -> TenantKek {
    TenantKek::generate(KekId::new("kek_2"), &FixedEntropy::starting_at(0xa0))
}

pub(crate) fn key(text: &str) -> ApiKey {
    ApiKey::parse(SecretBytes::new(text.as_bytes().to_vec())).expect("a valid key")
}

/// `KEY` sealed for `context` under the first KEK, from fixed entropy.
pub(crate) fn sealed_for(context: &Context<'_>) -> Sealed {
    let entropy = FixedEntropy::starting_at(0x20);
    capabilities().0.seal(&kek(), context, &key(KEY), &entropy).expect("seals")
}

pub(crate) fn sealed() -> Sealed {
    sealed_for(&CONTEXT)
}

/// One that has opened the key in every place before, so that it remembers what that took: it must open and refuse what one does
/// that has opened nothing.
static USED: LazyLock<TenantKek> = LazyLock::new(|| {
    let kek = kek();
    for context in once_changed().into_iter().map(|(_, context)| context).chain([CONTEXT]) {
        assert_eq!(opened(&kek, &context, &sealed_for(&context)), Ok(true));
    }
    kek
});

/// One change of each field a sealed key is bound to.
pub(crate) fn once_changed() -> [(&'static str, Context<'static>); 5] {
    [
        ("tenant", Context { tenant: "tenant-b", ..CONTEXT }),
        ("provider", Context { provider: "openai", ..CONTEXT }),
        ("origin", Context { origin: "https://attacker.example", ..CONTEXT }),
        ("credential", Context { credential: "cred-2", ..CONTEXT }),
        ("version", Context { version: 2, ..CONTEXT }),
    ]
}

/// Opens and compares with `KEY`: `Ok(true)` is the key, `Ok(false)` would be another one.
pub(crate) fn open(kek: &TenantKek, context: &Context<'_>, sealed: &Sealed) -> Result<bool, OpenError> {
    let outcome = opened(kek, context, sealed);
    // It remembers few, and other tests use it too.
    for (_, place) in once_changed().into_iter().chain([("none", CONTEXT)]) {
        if place == CONTEXT || place == *context {
            assert_eq!(opened(&USED, &place, &sealed_for(&place)), Ok(true));
        }
    }
    if kek.id() == USED.id() && kek.secret().ct_eq(USED.secret()) {
        assert_eq!(opened(&USED, context, sealed), outcome, "what was opened before makes no difference");
    }
    outcome
}

fn opened(kek: &TenantKek, context: &Context<'_>, sealed: &Sealed) -> Result<bool, OpenError> {
    capabilities().1.open(kek, context, sealed).map(|opened| opened.ct_eq(&key(KEY)))
}
