//! Two lists of fields bind to the same thing only if they are the same list.
//!
//! Both lists are cut from one text, so that a border that moves by a character is a likely input.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use keyferry_envelope::{
    ApiKey, Context, KekId, KeyContext, KeyPurpose, LocalRoot, Opener, Sealer, SecretBytes, TenantKek,
    capabilities,
};
use keyferry_fuzz::Counting;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    text: &'a str,
    left: Cuts,
    right: Cuts,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
struct Cuts {
    at: [u8; 5],
    version: u32,
    purpose: u8,
}

/// The six pieces of `text` between five cuts, in the order in which the cuts stand in it.
fn pieces(text: &str, cuts: Cuts) -> [&str; 6] {
    let mut at = cuts.at.map(|at| {
        let at = usize::from(at).min(text.len());
        (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
    });
    at.sort_unstable();
    let [a, b, c, d, e] = at;
    [&text[..a], &text[a..b], &text[b..c], &text[c..d], &text[d..e], &text[e..]]
}

fn context(text: &str, cuts: Cuts) -> Context<'_> {
    let [_, tenant, provider, origin, credential, _] = pieces(text, cuts);
    Context { tenant, provider, origin, credential, version: cuts.version }
}

fn key_context(text: &str, cuts: Cuts) -> KeyContext<'_> {
    let [_, owner, id, ..] = pieces(text, cuts);
    let purpose =
        [KeyPurpose::TenantKek, KeyPurpose::Service, KeyPurpose::Sealing][usize::from(cuts.purpose % 3)];
    KeyContext { purpose, owner, id }
}

static WORLD: LazyLock<(Sealer, Opener, LocalRoot, TenantKek, ApiKey)> = LazyLock::new(|| {
    let (sealer, opener, _) = capabilities();
    let root = LocalRoot::generate(&Counting::from(0));
    let kek = TenantKek::generate(KekId::new("kek_1"), &Counting::from(0x80));
    (sealer, opener, root, kek, ApiKey::parse(SecretBytes::new(b"sk-test-not-a-real-key".to_vec())).unwrap())
});

fuzz_target!(|input: Input<'_>| {
    let (sealer, opener, root, kek, key) = &*WORLD;
    let (left, right) = (context(input.text, input.left), context(input.text, input.right));
    match sealer.seal(kek, &left, key, &Counting::from(0x20)) {
        Ok(sealed) => assert_eq!(opener.open(kek, &right, &sealed).is_ok(), left == right),
        Err(_) => {
            assert!(
                [left.tenant, left.provider, left.origin, left.credential]
                    .iter()
                    .any(|field| field.is_empty())
            );
        }
    }
    let (left, right) = (key_context(input.text, input.left), key_context(input.text, input.right));
    assert_eq!(left.aad() == right.aad(), left == right);
    let wrapped = root.wrap(&left, kek.secret(), &Counting::from(0xc0)).unwrap();
    assert_eq!(root.unwrap(&right, &wrapped).is_ok(), left == right);
});
