//! A sealed key moved to any other place stays closed, and so does either half of it alone.

use keyferry_envelope::{Context, Sealed};

use crate::fixture::{CONTEXT, open, other_root, root, sealed, sealed_for};

/// One change of each field a sealed key is bound to.
fn neighbours() -> [(&'static str, Context<'static>); 5] {
    [
        ("tenant", Context { tenant: "tenant-b", ..CONTEXT }),
        ("provider", Context { provider: "openai", ..CONTEXT }),
        ("origin", Context { origin: "https://attacker.example", ..CONTEXT }),
        ("credential", Context { credential: "cred-2", ..CONTEXT }),
        ("version", Context { version: 2, ..CONTEXT }),
    ]
}

fn opens(context: &Context<'_>, sealed: &Sealed) -> bool {
    open(&root().tenant_kek(context.tenant), context, sealed).is_ok()
}

#[test]
fn opens_in_its_own_context() {
    assert_eq!(open(&root().tenant_kek(CONTEXT.tenant), &CONTEXT, &sealed()), Ok(true));
    for (field, context) in neighbours() {
        assert!(opens(&context, &sealed_for(&context)), "{field}");
    }
}

#[test]
fn a_row_copied_to_another_place_stays_closed() {
    for (field, context) in neighbours() {
        assert!(!opens(&context, &sealed()), "{field}");
        assert!(!opens(&CONTEXT, &sealed_for(&context)), "{field}");
    }
}

/// A row made of parts of two. Both rows are sealed from the same entropy, so their DEKs are equal: only the binding
/// can tell the parts apart.
#[test]
fn either_half_of_a_row_copied_to_another_place_keeps_it_closed() {
    let own = sealed();
    for (field, context) in neighbours() {
        let foreign = sealed_for(&context);
        let with_foreign_envelope = Sealed { envelope: foreign.envelope, ..own.clone() };
        let with_foreign_dek = Sealed { wrapped_dek: foreign.wrapped_dek, ..own.clone() };
        for mixed in [with_foreign_envelope, with_foreign_dek] {
            assert!(!opens(&CONTEXT, &mixed), "{field}");
            assert!(!opens(&context, &mixed), "{field}");
        }
    }
}

#[test]
fn the_halves_do_not_pass_for_each_other() {
    let Sealed { envelope, wrapped_dek, kek_id } = sealed();
    assert!(!opens(&CONTEXT, &Sealed { envelope: wrapped_dek, wrapped_dek: envelope, kek_id }));
}

#[test]
fn another_tenants_kek_and_another_roots_kek_do_not_open() {
    assert!(open(&root().tenant_kek("tenant-b"), &CONTEXT, &sealed()).is_err());
    assert!(open(&other_root().tenant_kek("tenant-a"), &CONTEXT, &sealed()).is_err());
}

#[test]
fn a_row_relabelled_with_another_kek_stays_closed() {
    let relabelled = Sealed { kek_id: other_root().kek_id(), ..sealed() };
    assert!(open(&root().tenant_kek("tenant-a"), &CONTEXT, &relabelled).is_err());
    assert!(open(&other_root().tenant_kek("tenant-a"), &CONTEXT, &relabelled).is_err());
}

#[test]
fn a_character_moved_across_a_field_border_keeps_it_closed() {
    let split = Context { tenant: "tenant-a", provider: "xy", ..CONTEXT };
    let shifted = Context { provider: "x", credential: "ycred-1", ..CONTEXT };
    assert!(!opens(&shifted, &sealed_for(&split)));
}
