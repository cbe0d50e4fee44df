//! States what a sealed key is bound to and encodes it as associated data. It must never read any of it from an
//! envelope: the caller knows from elsewhere whose key it is asking for.

use crate::cbor::{self, Item};
use crate::kek::KekId;

/// Version of the format, part of every binding. A change of any encoding in this crate raises it.
pub(crate) const FORMAT: u64 = 1;

/// Whose key it is and where it may go. The same five values must be given to seal and to open.
///
/// Take them from the authenticated request and the configuration. If they came from the row that holds the envelope,
/// whoever can write that row could move the key to another tenant or send it to another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// The tenant the key belongs to.
    pub tenant: &'a str,
    /// The provider that issued the key, for example `anthropic`.
    pub provider: &'a str,
    /// The only origin the key may be sent to, for example `https://api.anthropic.com`.
    pub origin: &'a str,
    /// The id of the credential within the tenant.
    pub credential: &'a str,
    /// The version of the credential: replacing the key raises it, so that a restored old row stays closed.
    pub version: u32,
}

/// What a layer of an envelope contains. Part of the binding, so that neither layer passes for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A provider key under a DEK.
    Record,
    /// A DEK under a tenant's KEK.
    Dek,
    /// A key under a root.
    Key,
}

impl Purpose {
    /// The name in the associated data.
    const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Dek => "dek",
            Self::Key => "key",
        }
    }
}

impl Context<'_> {
    /// Whether every field names something. An empty field would bind a key to whoever has nothing to say.
    pub(crate) const fn is_complete(&self) -> bool {
        !self.tenant.is_empty()
            && !self.provider.is_empty()
            && !self.origin.is_empty()
            && !self.credential.is_empty()
    }

    /// Associated data of the record layer:
    /// `["keyferry", 1, "record", tenant, provider, credential, version, origin]`.
    ///
    /// The KEK is left out so that [`Rewrapper`](crate::Rewrapper) can move to another one without touching the record.
    pub(crate) fn record_aad(&self) -> Vec<u8> {
        cbor::array(&self.items(Purpose::Record))
    }

    /// Associated data of the wrap layer:
    /// `["keyferry", 1, "dek", tenant, provider, credential, version, origin, kek_id]`.
    pub(crate) fn dek_aad(&self, kek: &KekId) -> Vec<u8> {
        let mut items = [Item::Text(kek.as_str()); 9];
        items[..8].copy_from_slice(&self.items(Purpose::Dek));
        cbor::array(&items)
    }

    fn items(&self, purpose: Purpose) -> [Item<'_>; 8] {
        [
            Item::Text("keyferry"),
            Item::Unsigned(FORMAT),
            Item::Text(purpose.name()),
            Item::Text(self.tenant),
            Item::Text(self.provider),
            Item::Text(self.credential),
            Item::Unsigned(u64::from(self.version)),
            Item::Text(self.origin),
        ]
    }
}

/// What a key under a root is for, and whose it is. The same three values must be given to wrap and to unwrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyContext<'a> {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// The tenant it belongs to; empty for a key of the installation.
    pub owner: &'a str,
    /// Its name.
    pub id: &'a str,
}

/// What a key under a root is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    /// It wraps the DEKs of one tenant.
    TenantKek,
    /// The installation's own keys are derived from it.
    Service,
    /// It opens what was sealed for the gateway.
    Sealing,
}

impl KeyPurpose {
    /// The name in the associated data.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TenantKek => "tenant-kek",
            Self::Service => "service",
            Self::Sealing => "sealing",
        }
    }
}

impl KeyContext<'_> {
    /// Associated data: `["keyferry", 1, "key", purpose, owner, id]` in deterministic CBOR.
    pub fn aad(&self) -> Vec<u8> {
        cbor::array(&[
            Item::Text("keyferry"),
            Item::Unsigned(FORMAT),
            Item::Text(Purpose::Key.name()),
            Item::Text(self.purpose.name()),
            Item::Text(self.owner),
            Item::Text(self.id),
        ])
    }

    /// The same as named texts, for a root that binds to a map of them. An empty owner is left out.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("keyferry", "1"), ("purpose", self.purpose.name()), ("tenant", self.owner), ("key", self.id)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use coset::{CborSerializable, cbor::Value};
    use proptest::prelude::*;

    use super::*;

    /// Owned twin of [`Context`]. Short strings over a small alphabet make near-collisions likely.
    fn fields() -> impl Strategy<Value = ([String; 4], u32)> {
        (prop::array::uniform4("[ab\u{e9}]{0,3}"), prop_oneof![0..30_u32, any::<u32>()])
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn context(texts: &[String; 4], version: u32) -> Context<'_> {
        let [tenant, provider, origin, credential] = texts.each_ref().map(String::as_str);
        Context { tenant, provider, origin, credential, version }
    }

    proptest! {
        #[test]
        fn different_contexts_have_different_encodings((a, av) in fields(), (b, bv) in fields()) {
            let (left, right) = (context(&a, av), context(&b, bv));
            let kek = KekId::new("local:0000000000000000");
            prop_assert_eq!(left == right, left.record_aad() == right.record_aad());
            prop_assert_eq!(left == right, left.dek_aad(&kek) == right.dek_aad(&kek));
            prop_assert_ne!(left.record_aad(), right.dek_aad(&kek));
        }

        #[test]
        fn encodings_decode_to_the_fields((texts, version) in fields(), kek in "[a-z:]{0,4}") {
            let [tenant, provider, origin, credential] = texts.each_ref().map(|field| text(field));
            let decoded = Value::from_slice(&context(&texts, version).dek_aad(&KekId::new(kek.as_str())));
            let expected = vec![
                text("keyferry"), Value::from(1), text("dek"), tenant, provider, credential,
                Value::from(version), origin, text(&kek),
            ];
            prop_assert_eq!(decoded.ok(), Some(Value::Array(expected)));
        }
    }

    #[test]
    fn moving_a_character_across_a_field_border_changes_the_encoding() {
        let context = Context { tenant: "ab", provider: "c", origin: "o", credential: "k", version: 1 };
        let shifted = Context { tenant: "a", provider: "bc", ..context };
        assert_ne!(context.record_aad(), shifted.record_aad());
    }

    #[test]
    fn an_empty_field_makes_a_context_incomplete() {
        let whole = Context { tenant: "t", provider: "p", origin: "o", credential: "c", version: 0 };
        assert!(whole.is_complete());
        assert!(!Context { tenant: "", ..whole }.is_complete());
        assert!(!Context { provider: "", ..whole }.is_complete());
        assert!(!Context { origin: "", ..whole }.is_complete());
        assert!(!Context { credential: "", ..whole }.is_complete());
    }
}
