//! Derives the keys that the installation itself needs: for its audit log, its tokens and its fingerprints. It must
//! never wrap or seal anything.

use crate::cbor::{self, Item};
use crate::context::FORMAT;
use crate::entropy::Entropy;
use crate::error::OpenError;
use crate::hazmat::{self, KEY_LEN};
use crate::mac::MacKey;
use crate::secret::SecretBytes;

/// Salt of all derivations. Fixed: the secret is uniformly random, so RFC 5869 §3.1 asks for no more.
const SALT: &[u8] = b"keyferry service secret";

/// A 32-byte secret that an installation draws once and keeps for ever, wrapped under whatever root it has.
///
/// Apart from the root, because a root is replaced: the audit log must still verify and fingerprints must still match
/// under the next one. Each key is `HKDF-SHA-256(secret, salt, ["keyferry", 1, purpose, tenant?])`.
pub struct ServiceSecret(SecretBytes);

impl ServiceSecret {
    /// Draws a new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(SecretBytes::init(KEY_LEN, |secret| entropy.fill(secret)))
    }

    /// The secret that a root unwrapped. Fails unless it has 32 bytes.
    pub fn from_secret(secret: SecretBytes) -> Result<Self, OpenError> {
        if secret.expose().len() != KEY_LEN {
            return Err(OpenError::OPAQUE);
        }
        Ok(Self(secret))
    }

    /// The secret itself, for a root to wrap and for nothing else.
    pub fn secret(&self) -> &SecretBytes {
        &self.0
    }

    /// The key that chains the audit log.
    pub fn audit_key(&self) -> MacKey {
        self.derive("audit", None)
    }

    /// The key of one tenant's [`fingerprint`](crate::fingerprint)s. Two tenants with the same provider key do not show
    /// the same fingerprint.
    pub fn fingerprint_key(&self, tenant: &str) -> MacKey {
        self.derive("fingerprint", Some(tenant))
    }

    fn derive(&self, purpose: &str, tenant: Option<&str>) -> MacKey {
        let mut info = vec![Item::Text("keyferry"), Item::Unsigned(FORMAT), Item::Text(purpose)];
        info.extend(tenant.map(Item::Text));
        let key = hazmat::hkdf_sha256_key(&self.0, SALT, &cbor::array(&info));
        MacKey::from_secret(key.expect("32 bytes are within HKDF's limit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_and_tenant_has_its_own_key() {
        let secret = ServiceSecret(SecretBytes::new((0..32).collect()));
        let sign = |key: MacKey| key.sign(&[b"m"]);
        let mut tags = vec![sign(secret.audit_key())];
        tags.extend(["", "a", "b"].map(|tenant| sign(secret.fingerprint_key(tenant))));
        let count = tags.len();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), count);
    }

    #[test]
    fn only_32_bytes_are_a_service_secret() {
        for (len, accepted) in [(31, false), (32, true), (33, false), (0, false)] {
            assert_eq!(ServiceSecret::from_secret(SecretBytes::new(vec![1; len])).is_ok(), accepted);
        }
    }
}
