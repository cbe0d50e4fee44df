//! Gateway tokens: `sk-kf-<id>-<secret + checksum>`, shown once, stored as a hash.
//!
//! The secret has 256 bits from the machine's random source, so a plain SHA-256 is enough to
//! store it: there is nothing to guess. The checksum lets a scanner or a person see a mistyped
//! token without asking the store, and keeps garbage from reaching it.

use aws_lc_rs::{constant_time, digest};
use keyferry_envelope::{Entropy, SecretBytes};
use keyferry_secretmem::scrubbed;
use serde::{Deserialize, Serialize};

use crate::{
    id::{TenantId, TokenId},
    limits::Rate,
    time::Timestamp,
};

/// What each gateway token begins with.
pub const PREFIX: &str = "sk-kf-";
const ID_LEN: usize = 12;
const SECRET_LEN: usize = 43;
const CHECK_LEN: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Calls providers.
    Caller,
    /// Calls providers, and manages the credentials, tokens and issuers of its own tenant.
    TenantAdmin,
}

impl Role {
    /// The name on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::TenantAdmin => "tenant_admin",
        }
    }
}

/// A token as the store and the control plane know it: never the secret.
#[derive(Clone, Debug, Serialize)]
pub struct Token {
    /// The public half.
    pub id: TokenId,
    /// Whose it is.
    #[serde(skip)]
    pub tenant: TenantId,
    /// For people.
    pub name: Option<String>,
    /// What it may do.
    pub role: Role,
    /// The only models it may use; `None` means any.
    pub models: Option<Vec<String>>,
    /// A limit of its own, in place of the configured one.
    pub rate: Option<Rate>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Token {
    /// Whether it is neither revoked nor expired.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// SHA-256 of a token's secret part.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of stored bytes; `None` if they are not 32.
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As it is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash of any other secret that is compared whole, such as the operator's token.
    pub fn of(secret: &[u8]) -> Self {
        scrubbed(|| Self::unscrubbed(secret))
    }

    /// The same within something that is scrubbed.
    fn unscrubbed(secret: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
        Self(hash)
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// A token that was just made: the only moment its secret exists outside the caller's hands.
pub struct MintedToken {
    /// The public half.
    pub id: TokenId,
    /// What is stored.
    pub hash: TokenHash,
    /// What is shown, once.
    pub text: SecretBytes,
}

/// Makes a token.
pub fn mint(entropy: &dyn Entropy) -> MintedToken {
    let id = random_text(entropy, ID_LEN);
    let mut text = Vec::with_capacity(PREFIX.len() + ID_LEN + 1 + SECRET_LEN + CHECK_LEN);
    text.extend_from_slice(PREFIX.as_bytes());
    text.extend_from_slice(&id);
    text.push(b'-');
    let secret = SecretBytes::new(random_text(entropy, SECRET_LEN));
    text.extend_from_slice(secret.expose());
    text.extend_from_slice(&scrubbed(|| checksum(&id, secret.expose())));
    let id =
        String::from_utf8_lossy(&id).parse().unwrap_or_else(|_| unreachable!("the alphabet is alphanumeric"));
    MintedToken { id, hash: TokenHash::of(secret.expose()), text: SecretBytes::new(text) }
}

/// What a presented token consists of.
pub struct PresentedToken {
    /// The public half.
    pub id: TokenId,
    /// The hash of its secret, to be compared with the stored one.
    pub hash: TokenHash,
}

/// Whether a text claims to be a gateway token.
pub fn looks_like_token(text: &[u8]) -> bool {
    text.starts_with(PREFIX.as_bytes())
}

/// Takes a presented token apart; `None` if its form or checksum is wrong.
pub fn read(text: &[u8]) -> Option<PresentedToken> {
    let rest = text.strip_prefix(PREFIX.as_bytes())?;
    if rest.len() != ID_LEN + 1 + SECRET_LEN + CHECK_LEN
        || rest[ID_LEN] != b'-'
        || !rest[..ID_LEN].iter().all(u8::is_ascii_alphanumeric)
    {
        return None;
    }
    let (id, secret) = (&rest[..ID_LEN], &rest[ID_LEN + 1..]);
    let (secret, check) = secret.split_at(SECRET_LEN);
    let hash = scrubbed(|| (checksum(id, secret) == check).then(|| TokenHash::unscrubbed(secret)))?;
    Some(PresentedToken { id: std::str::from_utf8(id).ok()?.parse().ok()?, hash })
}

/// Characters of the alphabet, each equally likely: bytes that would favour some are thrown away.
fn random_text(entropy: &dyn Entropy, len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len);
    let mut pool = [0u8; 64];
    while text.len() < len {
        entropy.fill(&mut pool);
        let fair = pool.iter().filter(|&&b| b < 248);
        text.extend(fair.map(|&b| ALPHABET[usize::from(b % 62)]).take(len - text.len()));
    }
    pool.fill(0);
    text
}

/// Six characters over id and secret. Against typing errors only: it protects nothing. Leaves the secret on the stack.
fn checksum(id: &[u8], secret: &[u8]) -> [u8; CHECK_LEN] {
    const LABEL: &[u8] = b"keyferry token checksum";
    let mut text = [0; LABEL.len() + ID_LEN + SECRET_LEN];
    let mut rest = &mut text[..];
    for part in [LABEL, id, secret] {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    let sum = digest::digest(&digest::SHA256, &text);
    let mut check = [0; CHECK_LEN];
    for (slot, byte) in check.iter_mut().zip(sum.as_ref()) {
        *slot = ALPHABET[usize::from(byte % 62)];
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_envelope::SystemEntropy;

    #[test]
    fn a_minted_token_reads_back_as_itself() {
        let minted = mint(&SystemEntropy);
        let read = read(minted.text.expose()).expect("own token");
        assert_eq!(read.id, minted.id);
        assert!(read.hash.matches(&minted.hash));
    }

    #[test]
    fn one_wrong_character_anywhere_is_noticed() {
        let minted = mint(&SystemEntropy);
        for at in 0..minted.text.expose().len() {
            let mut text = minted.text.expose().to_vec();
            text[at] = if text[at] == b'x' { b'y' } else { b'x' };
            assert!(read(&text).is_none(), "position {at}");
        }
        assert!(read(b"").is_none());
        assert!(read(b"sk-kf-").is_none());
    }
}
