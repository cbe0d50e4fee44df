//! What the types of secrets cannot do. This does not fail at run time: it does not compile.

use std::fmt::{Debug, Display, LowerHex, Pointer};

use keyferry_envelope::{ApiKey, LocalRoot, MacKey, SecretBytes, TenantKek};
use serde::{Serialize, de::DeserializeOwned};

/// Compiles only if a type does not implement a trait: if it does, which `asked` is meant is ambiguous.
macro_rules! is_not {
    ($($secret:ty),+: $wanted:path) => {
        $(const _: fn() = || {
            trait Ambiguous<Which> {
                fn asked() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct Implements;
            impl<T: ?Sized + $wanted> Ambiguous<Implements> for T {}
            let _ = <$secret as Ambiguous<_>>::asked;
        };)+
    };
}

#[test]
fn the_types_of_secrets_are_not_shown_copied_or_written() {
    is_not!(SecretBytes, ApiKey, LocalRoot, TenantKek, MacKey: Debug);
    is_not!(SecretBytes, ApiKey, LocalRoot, TenantKek, MacKey: Display);
    is_not!(SecretBytes, ApiKey, LocalRoot, TenantKek, MacKey: LowerHex);
    is_not!(SecretBytes, ApiKey, LocalRoot, TenantKek, MacKey: Pointer);
    is_not!(SecretBytes, ApiKey, LocalRoot, TenantKek, MacKey: Clone);
    is_not!(SecretBytes, ApiKey, LocalRoot, TenantKek, MacKey: Serialize);
    is_not!(SecretBytes, ApiKey, LocalRoot, TenantKek, MacKey: DeserializeOwned);
    is_not!(SecretBytes, ApiKey, LocalRoot, TenantKek, MacKey: ToString);
}
