//! Secrets cannot be printed, cloned or compared by accident: checked by the compiler when this file is built.

use std::fmt::{Debug, Display};

use keyferry_envelope::{
    ApiKey, LocalRoot, MacKey, Opener, Rewrapper, Sealer, SealingKey, SecretBytes, ServiceSecret, SigningKey,
    TenantKek,
};

use crate::fixture::sealed;

/// Fails to compile if `$type` implements any of the traits: the call is ambiguous as soon as a second blanket
/// implementation applies.
macro_rules! assert_implements_none {
    ($type:ty: $($trait:path),+) => {
        const _: fn() = || {
            trait Ambiguous<Marker> { fn check() {} }
            impl<T: ?Sized> Ambiguous<()> for T {}
            $({
                struct Marker;
                impl<T: ?Sized + $trait> Ambiguous<Marker> for T {}
            })+
            <$type as Ambiguous<_>>::check();
        };
    };
}

assert_implements_none!(SecretBytes: Debug, Display, Clone, PartialEq, AsRef<[u8]>, std::ops::Deref);
assert_implements_none!(ApiKey: Debug, Display, Clone, PartialEq, AsRef<[u8]>, std::ops::Deref);
assert_implements_none!(LocalRoot: Debug, Display, Clone, PartialEq, AsRef<[u8]>, std::ops::Deref);
assert_implements_none!(TenantKek: Debug, Display, Clone, PartialEq, AsRef<[u8]>, std::ops::Deref);
assert_implements_none!(ServiceSecret: Debug, Display, Clone, PartialEq, AsRef<[u8]>, std::ops::Deref);
assert_implements_none!(MacKey: Debug, Display, Clone, PartialEq, AsRef<[u8]>, std::ops::Deref);
assert_implements_none!(SealingKey: Debug, Display, Clone, PartialEq, AsRef<[u8]>, std::ops::Deref);
assert_implements_none!(SigningKey: Debug, Display, Clone, PartialEq, AsRef<[u8]>, std::ops::Deref);
assert_implements_none!(Sealer: Clone, Default);
assert_implements_none!(Opener: Clone, Default);
assert_implements_none!(Rewrapper: Clone, Default);

#[test]
fn a_sealed_key_prints_lengths_only() {
    let sealed = sealed();
    let expected = format!(
        "Sealed {{ envelope: {} bytes, wrapped_dek: {} bytes, kek_id: KekId({:?}) }}",
        sealed.envelope.len(),
        sealed.wrapped_dek.len(),
        sealed.kek_id.as_str(),
    );
    assert_eq!(format!("{sealed:?}"), expected);
}
