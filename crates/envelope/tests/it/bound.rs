//! A sealed key moved to any other place stays closed, and so does either half of it alone.

use keyferry_envelope::{
    Context, KekId, KeyContext, KeyPurpose, Sealed, SecretBytes, SystemEntropy, TenantKek,
};

use crate::fixture::{CONTEXT, kek, once_changed, open, other_kek, other_root, root, sealed, sealed_for};

fn opens(context: &Context<'_>, sealed: &Sealed) -> bool {
    open(&kek(), context, sealed).is_ok()
}

#[test]
fn opens_in_its_own_context() {
    assert_eq!(open(&kek(), &CONTEXT, &sealed()), Ok(true));
    for (field, context) in once_changed() {
        assert!(opens(&context, &sealed_for(&context)), "{field}");
    }
}

#[test]
fn a_row_copied_to_another_place_stays_closed() {
    for (field, context) in once_changed() {
        assert!(!opens(&context, &sealed()), "{field}");
        assert!(!opens(&CONTEXT, &sealed_for(&context)), "{field}");
    }
}

/// A row made of parts of two. Both rows are sealed from the same entropy, so their DEKs are equal: only the binding
/// can tell the parts apart.
#[test]
fn either_half_of_a_row_copied_to_another_place_keeps_it_closed() {
    let own = sealed();
    for (field, context) in once_changed() {
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

/// A KEK with the secret of one and the name of another.
fn renamed(kek: &TenantKek, id: &str) -> TenantKek {
    let secret = SecretBytes::new(kek.secret().expose().to_vec());
    TenantKek::from_secret(KekId::new(id), secret).expect("32 bytes")
}

#[test]
fn another_kek_does_not_open_whatever_it_is_called() {
    assert!(open(&other_kek(), &CONTEXT, &sealed()).is_err());
    assert!(open(&renamed(&other_kek(), "kek_1"), &CONTEXT, &sealed()).is_err());
    assert_eq!(open(&renamed(&kek(), "kek_1"), &CONTEXT, &sealed()), Ok(true));
}

#[test]
fn a_row_relabelled_with_another_kek_stays_closed() {
    let relabelled = Sealed { kek_id: other_kek().id().clone(), ..sealed() };
    for kek in [kek(), other_kek(), renamed(&kek(), "kek_2")] {
        assert!(open(&kek, &CONTEXT, &relabelled).is_err());
    }
}

/// A database has many wrapped KEKs. None of them passes for another one, nor for a key of another kind.
#[test]
fn a_wrapped_kek_copied_to_another_place_stays_wrapped() {
    let own = KeyContext { purpose: KeyPurpose::TenantKek, owner: CONTEXT.tenant, id: "kek_1" };
    let elsewhere = [
        ("another tenant", KeyContext { owner: "tenant-b", ..own }),
        ("no tenant", KeyContext { owner: "", ..own }),
        ("another id", KeyContext { id: "kek_2", ..own }),
        ("the installation's secret", KeyContext { purpose: KeyPurpose::Service, ..own }),
        ("a sealing key", KeyContext { purpose: KeyPurpose::Sealing, ..own }),
        ("a character moved across the border", KeyContext { owner: "tenant-ak", id: "ek_1", ..own }),
    ];
    let wrap = |context| root().wrap(&context, kek().secret(), &SystemEntropy).expect("wraps");
    assert!(root().unwrap(&own, &wrap(own)).is_ok_and(|secret| secret.ct_eq(kek().secret())));
    assert!(other_root().unwrap(&own, &wrap(own)).is_err());
    for (place, context) in elsewhere {
        assert!(root().unwrap(&context, &wrap(context)).is_ok(), "{place}");
        assert!(root().unwrap(&context, &wrap(own)).is_err(), "{place}");
        assert!(root().unwrap(&own, &wrap(context)).is_err(), "{place}");
    }
}

#[test]
fn a_wrapped_kek_and_a_wrapped_dek_do_not_pass_for_each_other() {
    let context = KeyContext { purpose: KeyPurpose::TenantKek, owner: CONTEXT.tenant, id: "kek_1" };
    assert!(root().unwrap(&context, &sealed().wrapped_dek).is_err());
    let wrapped_dek = root().wrap(&context, kek().secret(), &SystemEntropy).expect("wraps");
    assert!(!opens(&CONTEXT, &Sealed { wrapped_dek, ..sealed() }));
}

#[test]
fn a_character_moved_across_a_field_border_keeps_it_closed() {
    let split = Context { tenant: "tenant-a", provider: "xy", ..CONTEXT };
    let shifted = Context { provider: "x", credential: "ycred-1", ..CONTEXT };
    assert!(!opens(&shifted, &sealed_for(&split)));
}
