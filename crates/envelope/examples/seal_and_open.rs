//! Seals a provider key, opens it, moves it to a new tenant key and that to a new root, and shows what does not work.
//!
//! `cargo run -p keyferry-envelope --example seal_and_open`

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;

use keyferry_envelope::{
    ApiKey, Context, KekId, KeyContext, KeyPurpose, LocalRoot, SecretBytes, ServiceSecret, SystemEntropy,
    TenantKek, capabilities, fingerprint,
};

fn main() -> Result<(), Box<dyn Error>> {
    let (sealer, opener, rewrapper) = capabilities();

    // What an installation and a tenant draw once. Only the wrapped KEK is stored.
    let root = LocalRoot::generate(&SystemEntropy);
    let service = ServiceSecret::generate(&SystemEntropy);
    let kek = TenantKek::generate(KekId::new("kek_1"), &SystemEntropy);
    let place = KeyContext { purpose: KeyPurpose::TenantKek, owner: "acme", id: "kek_1" };
    let wrapped = root.wrap(&place, kek.secret(), &SystemEntropy)?;
    println!("kek_1 is wrapped by {} in {} bytes", root.id(), wrapped.len());

    // Seal a key for one place.
    let key = ApiKey::parse(SecretBytes::new(b"sk-example-0123456789abcdef".to_vec()))?;
    println!("key {} ending in {}", fingerprint(&service.fingerprint_key("acme"), &key), key.last4());
    let context = Context {
        tenant: "acme",
        provider: "anthropic",
        origin: "https://api.anthropic.com",
        credential: "cred_01",
        version: 1,
    };
    let sealed = sealer.seal(&kek, &context, &key, &SystemEntropy)?;
    println!("{sealed:?}");

    // It opens there, from the root down.
    let kek = TenantKek::from_secret(KekId::new("kek_1"), root.unwrap(&place, &wrapped)?)?;
    assert!(opener.open(&kek, &context, &sealed)?.ct_eq(&key));

    // It opens nowhere else, and neither does the KEK.
    let elsewhere = Context { origin: "https://example.com", ..context };
    let refusal = opener.open(&kek, &elsewhere, &sealed).err();
    println!("for another origin: {}", refusal.ok_or("opened for another origin")?);
    assert!(root.unwrap(&KeyContext { owner: "globex", ..place }, &wrapped).is_err());

    // A new KEK takes it over without opening it.
    let next = TenantKek::generate(KekId::new("kek_2"), &SystemEntropy);
    let moved = rewrapper.rewrap(&kek, &next, &context, &sealed, &SystemEntropy)?;
    assert_eq!(moved.envelope, sealed.envelope);
    assert!(opener.open(&next, &context, &moved)?.ct_eq(&key));
    assert!(opener.open(&kek, &context, &moved).is_err());
    println!("moved from {} to {}", sealed.kek_id, moved.kek_id);

    // A new root takes over the KEK. What lies under the KEK is not touched.
    let next_root = LocalRoot::generate(&SystemEntropy);
    let rewrapped = next_root.wrap(&place, &root.unwrap(&place, &wrapped)?, &SystemEntropy)?;
    let kek = TenantKek::from_secret(KekId::new("kek_1"), next_root.unwrap(&place, &rewrapped)?)?;
    assert!(opener.open(&kek, &context, &sealed)?.ct_eq(&key));
    println!("kek_1 moved from {} to {}", root.id(), next_root.id());
    Ok(())
}
