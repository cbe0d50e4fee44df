//! Moving to another KEK changes who can open a key and nothing else.

use keyferry_envelope::{Context, Sealed, SystemEntropy, TenantKek, capabilities};

use crate::fixture::{CONTEXT, kek, open, other_kek, sealed};

#[test]
fn a_rewrapped_key_opens_under_the_new_kek_only() {
    let (from, to) = (kek(), other_kek());
    let moved = capabilities().2.rewrap(&from, &to, &CONTEXT, &sealed(), &SystemEntropy).expect("rewraps");
    assert_eq!(moved.envelope, sealed().envelope);
    assert_ne!(moved.wrapped_dek, sealed().wrapped_dek);
    assert_eq!(moved.kek_id, *to.id());
    assert_eq!(open(&to, &CONTEXT, &moved), Ok(true));
    assert!(open(&from, &CONTEXT, &moved).is_err());
    assert!(open(&from, &CONTEXT, &Sealed { kek_id: from.id().clone(), ..moved }).is_err());
}

#[test]
fn rewrapping_never_reads_the_envelope() {
    let (from, to) = (kek(), other_kek());
    let garbage = Sealed { envelope: b"not an envelope".to_vec(), ..sealed() };
    let moved = capabilities().2.rewrap(&from, &to, &CONTEXT, &garbage, &SystemEntropy).expect("rewraps");
    assert_eq!(moved.envelope, garbage.envelope);
    // The DEK came along unharmed: with the true envelope beside it, the key opens.
    assert_eq!(open(&to, &CONTEXT, &Sealed { envelope: sealed().envelope, ..moved }), Ok(true));
}

#[test]
fn rewrapping_there_and_back_and_in_place_keeps_the_key() {
    let (_, _, rewrapper) = capabilities();
    let (from, to) = (kek(), other_kek());
    let rewrap = |from: &TenantKek, to: &TenantKek, sealed: &Sealed| {
        rewrapper.rewrap(from, to, &CONTEXT, sealed, &SystemEntropy).expect("rewraps")
    };
    let back = rewrap(&to, &from, &rewrap(&from, &to, &sealed()));
    let renewed = rewrap(&from, &from, &back);
    assert_ne!(renewed.wrapped_dek, back.wrapped_dek);
    assert_eq!(open(&from, &CONTEXT, &renewed), Ok(true));
}

#[test]
fn rewrapping_does_not_move_a_key_to_another_tenant_or_context() {
    let (_, _, rewrapper) = capabilities();
    let other = Context { origin: "https://attacker.example", ..CONTEXT };
    assert!(rewrapper.rewrap(&kek(), &kek(), &other, &sealed(), &SystemEntropy).is_err());
    assert!(rewrapper.rewrap(&other_kek(), &kek(), &CONTEXT, &sealed(), &SystemEntropy).is_err());
    // A KEK of the wrong tenant as target: the result opens for nobody else, since the context stays inside.
    let foreign = other_kek();
    let moved = rewrapper.rewrap(&kek(), &foreign, &CONTEXT, &sealed(), &SystemEntropy).expect("rewraps");
    assert!(open(&foreign, &Context { tenant: "tenant-b", ..CONTEXT }, &moved).is_err());
}
