//! Seals a provider key, opens it, moves it to a new root, and shows what does not work.
//!
//! `cargo run -p keyferry-envelope --example seal_and_open`

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;

use keyferry_envelope::{ApiKey, Context, LocalRoot, SecretBytes, SystemEntropy, capabilities, fingerprint};

fn main() -> Result<(), Box<dyn Error>> {
    let root = LocalRoot::generate(&SystemEntropy);
    let (sealer, opener, rewrapper) = capabilities();

    let key = ApiKey::parse(SecretBytes::new(b"sk-example-0123456789abcdef".to_vec()))?;
    println!("key {} ending in {}", fingerprint(&root.fingerprint_key("acme"), &key), key.last4());

    // Seal it for one place.
    let context = Context {
        tenant: "acme",
        provider: "anthropic",
        origin: "https://api.anthropic.com",
        credential: "cred_01",
        version: 1,
    };
    let sealed = sealer.seal(&root.tenant_kek("acme"), &context, &key, &SystemEntropy)?;
    println!("{sealed:?}");

    // It opens there.
    let opened = opener.open(&root.tenant_kek("acme"), &context, &sealed)?;
    assert!(opened.ct_eq(&key));

    // It opens nowhere else.
    let elsewhere = Context { origin: "https://example.com", ..context };
    let refusal = opener.open(&root.tenant_kek("acme"), &elsewhere, &sealed).err();
    println!("for another origin: {}", refusal.ok_or("opened for another origin")?);

    // A new root takes it over without opening it.
    let next = LocalRoot::generate(&SystemEntropy);
    let (from, to) = (root.tenant_kek("acme"), next.tenant_kek("acme"));
    let moved = rewrapper.rewrap(&from, &to, &context, &sealed, &SystemEntropy)?;
    assert_eq!(moved.envelope, sealed.envelope);
    assert!(opener.open(&to, &context, &moved)?.ct_eq(&key));
    assert!(opener.open(&from, &context, &moved).is_err());
    println!("moved from {} to {}", sealed.kek_id, moved.kek_id);
    Ok(())
}
