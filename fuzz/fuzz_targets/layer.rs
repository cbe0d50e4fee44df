//! Layers of an envelope and of a wrapped key: nothing opens but the genuine bytes, and nothing panics.
//!
//! The first byte of the input says which layer the rest stands for.
#![no_main]

use std::sync::LazyLock;

use keyferry_envelope::{
    ApiKey, Context, KekId, KeyContext, KeyPurpose, LocalRoot, Opener, Sealed, SecretBytes, TenantKek,
    capabilities,
};
use keyferry_fuzz::{Counting, seed};
use libfuzzer_sys::fuzz_target;

const CONTEXT: Context<'static> = Context {
    tenant: "acme",
    provider: "openai",
    origin: "https://api.openai.com",
    credential: "cred_1",
    version: 1,
};
const PLACE: KeyContext<'static> = KeyContext { purpose: KeyPurpose::TenantKek, owner: "acme", id: "kek_1" };

struct Genuine {
    root: LocalRoot,
    kek: TenantKek,
    opener: Opener,
    sealed: Sealed,
    wrapped_kek: Vec<u8>,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let (sealer, opener, _) = capabilities();
    let root = LocalRoot::generate(&Counting::from(0));
    let kek = TenantKek::generate(KekId::new("kek_1"), &Counting::from(0x80));
    let key = ApiKey::parse(SecretBytes::new(b"sk-test-not-a-real-key".to_vec())).unwrap();
    let sealed = sealer.seal(&kek, &CONTEXT, &key, &Counting::from(0x20)).unwrap();
    let wrapped_kek = root.wrap(&PLACE, kek.secret(), &Counting::from(0xc0)).unwrap();
    for (name, first, layer) in [
        ("envelope", 0, &sealed.envelope),
        ("wrapped_dek", 1, &sealed.wrapped_dek),
        ("wrapped_kek", 2, &wrapped_kek),
    ] {
        seed(name, &[&[first], &layer[..]].concat());
    }
    Genuine { root, kek, opener, sealed, wrapped_kek }
});

fuzz_target!(init: { LazyLock::force(&GENUINE); }, |data: &[u8]| {
    let Some((&which, layer)) = data.split_first() else { return };
    let genuine = &*GENUINE;
    let (opens, own) = match which {
        0 => {
            let changed = Sealed { envelope: layer.to_vec(), ..genuine.sealed.clone() };
            (genuine.opener.open(&genuine.kek, &CONTEXT, &changed).is_ok(), &genuine.sealed.envelope)
        }
        1 => {
            let changed = Sealed { wrapped_dek: layer.to_vec(), ..genuine.sealed.clone() };
            (genuine.opener.open(&genuine.kek, &CONTEXT, &changed).is_ok(), &genuine.sealed.wrapped_dek)
        }
        _ => (genuine.root.unwrap(&PLACE, layer).is_ok(), &genuine.wrapped_kek),
    };
    assert_eq!(opens, layer == own);
});
