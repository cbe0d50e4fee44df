//! Wraps and unwraps the data keys of one tenant. It must never touch a provider key.

use std::fmt;

use keyferry_secretmem::scrubbed;

use crate::context::{Context, Purpose};
use crate::entropy::Entropy;
use crate::error::{CryptoFailure, OpenError};
use crate::hazmat::KEY_LEN;
use crate::layer;
use crate::record_keys::RecordKeys;
use crate::secret::SecretBytes;

/// The name of a KEK, stored beside what it wraps. Not secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KekId(String);

impl KekId {
    /// The id as read from storage. It is only ever compared with the id of a KEK at hand, so any text is accepted.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as written to storage.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tenant's key-encryption key: 32 secret bytes and their name. It wraps DEKs and is used for nothing else.
pub struct TenantKek {
    id: KekId,
    secret: SecretBytes,
    /// Keys of records that it opened lately.
    records: RecordKeys,
}

/// A data-encryption key: 32 random bytes that seal one version of one credential and then only lie wrapped.
pub(crate) struct Dek(SecretBytes);

impl TenantKek {
    /// Draws a fresh KEK.
    pub fn generate(id: KekId, entropy: &dyn Entropy) -> Self {
        let secret = SecretBytes::init(KEY_LEN, |kek| entropy.fill(kek));
        Self { id, secret, records: RecordKeys::default() }
    }

    /// The KEK that a root unwrapped. Fails unless it has 32 bytes.
    pub fn from_secret(id: KekId, secret: SecretBytes) -> Result<Self, OpenError> {
        if secret.expose().len() != KEY_LEN {
            return Err(OpenError::OPAQUE);
        }
        Ok(Self { id, secret, records: RecordKeys::default() })
    }

    /// The key itself, for a root to wrap and for nothing else.
    pub fn secret(&self) -> &SecretBytes {
        &self.secret
    }

    /// The name of this KEK.
    pub fn id(&self) -> &KekId {
        &self.id
    }

    /// The keys of records that it opened lately.
    pub(crate) fn records(&self) -> &RecordKeys {
        &self.records
    }

    /// Wraps `dek` for `context`, under a key derived for this one wrap.
    pub(crate) fn wrap(
        &self,
        dek: &Dek,
        context: &Context<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, CryptoFailure> {
        layer::seal(&self.secret, Purpose::Dek, &context.dek_aad(&self.id), &dek.0, entropy)
    }

    /// Unwraps what [`wrap`](Self::wrap) returned for the same `context`.
    pub(crate) fn unwrap(&self, wrapped: &[u8], context: &Context<'_>) -> Result<Dek, OpenError> {
        let dek = layer::open(&self.secret, Purpose::Dek, &context.dek_aad(&self.id), wrapped)?;
        if dek.expose().len() != KEY_LEN {
            return Err(OpenError::OPAQUE);
        }
        Ok(Dek(dek))
    }
}

impl Dek {
    /// Draws a fresh DEK.
    pub(crate) fn generate(entropy: &dyn Entropy) -> Self {
        Self(SecretBytes::init(KEY_LEN, |dek| scrubbed(|| entropy.fill(dek))))
    }

    /// The key material of the record layer.
    pub(crate) fn secret(&self) -> &SecretBytes {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn only_a_dek_of_the_right_length_is_unwrapped() {
        let context = Context { tenant: "t", provider: "p", origin: "o", credential: "c", version: 1 };
        let kek = TenantKek::from_secret(KekId::new("kek_test"), SecretBytes::new(vec![1; KEY_LEN]))
            .expect("32 bytes");
        let unwraps = |len| {
            let dek = Dek(SecretBytes::new(vec![2; len]));
            let wrapped = kek.wrap(&dek, &context, &SystemEntropy).expect("wraps");
            kek.unwrap(&wrapped, &context).is_ok()
        };
        assert!(unwraps(KEY_LEN));
        assert!(!unwraps(KEY_LEN - 1) && !unwraps(KEY_LEN + 1) && !unwraps(0));
    }
}
