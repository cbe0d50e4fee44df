//! Wraps keys under a root that is a file. It must never hand out the root itself, except as the one line of that file.

use keyferry_secretmem::scrubbed;

use crate::cbor::{self, Item};
use crate::context::{FORMAT, KeyContext, Purpose};
use crate::entropy::Entropy;
use crate::error::{InvalidMasterSecret, OpenError, SealError};
use crate::hazmat::{self, KEY_LEN};
use crate::layer;
use crate::mac::hex;
use crate::secret::SecretBytes;

/// Salt of all derivations from a local root. Fixed: the root is uniformly random, so RFC 5869 §3.1 asks for no more.
const SALT: &[u8] = b"keyferry local root";

/// A 32-byte master secret, from which wrapping keys are derived by HKDF-SHA-256 (RFC 5869).
///
/// Each derivation has an `info` of its own, `["keyferry", 1, "root-id"]` or `["keyferry", 1, "kek", owner]` in
/// deterministic CBOR, so no two owners share a key and none of the keys leads to another.
pub struct LocalRoot(SecretBytes);

impl LocalRoot {
    /// Reads the line of a key file: exactly 64 hexadecimal digits of either case, with or without one `\n` after them.
    ///
    /// Refuses 32 equal bytes: zeros and the like come from placeholders and broken generators.
    pub fn from_hex(line: &[u8]) -> Result<Self, InvalidMasterSecret> {
        let digits = line.strip_suffix(b"\n").unwrap_or(line);
        if digits.len() != 2 * KEY_LEN {
            return Err(InvalidMasterSecret::Length);
        }
        let root = SecretBytes::try_init(KEY_LEN, |bytes| {
            for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
            }
            Ok(())
        })?;
        if is_constant(&root) {
            return Err(InvalidMasterSecret::Constant);
        }
        Ok(Self(root))
    }

    /// Draws a new master secret.
    ///
    /// # Panics
    ///
    /// If `entropy` repeats one byte 32 times, which a working source does once in 2^248 draws.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let root = SecretBytes::init(KEY_LEN, |bytes| scrubbed(|| entropy.fill(bytes)));
        assert!(!is_constant(&root), "the entropy source is broken");
        Self(root)
    }

    /// The content of a key file: 64 lower-case hexadecimal digits and `\n`.
    pub fn to_hex_line(&self) -> SecretBytes {
        SecretBytes::init(2 * KEY_LEN + 1, |line| {
            for (pair, byte) in line.chunks_exact_mut(2).zip(self.0.expose()) {
                pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
            }
            line[2 * KEY_LEN] = b'\n';
        })
    }

    /// The name of this root: `local:` and 16 hexadecimal digits derived from it.
    ///
    /// It stands beside everything the root wraps, so a program started with another master secret can say so instead
    /// of failing to open.
    pub fn id(&self) -> String {
        let mut id = [0; 8];
        hazmat::hkdf_sha256(&self.0, SALT, &info("root-id", None), &mut id)
            .expect("8 bytes are within HKDF's limit");
        format!("local:{}", hex(&id))
    }

    /// Wraps a key under the KEK that is derived for its owner.
    pub fn wrap(
        &self,
        context: &KeyContext<'_>,
        key: &SecretBytes,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        Ok(layer::seal(&self.kek(context), Purpose::Key, &context.aad(), key, entropy)?)
    }

    /// Unwraps what [`wrap`](Self::wrap) returned for the same `context`.
    pub fn unwrap(&self, context: &KeyContext<'_>, wrapped: &[u8]) -> Result<SecretBytes, OpenError> {
        layer::open(&self.kek(context), Purpose::Key, &context.aad(), wrapped)
    }

    /// One KEK a tenant, and one for the installation. Not stored anywhere: it is derived whenever it is needed.
    fn kek(&self, context: &KeyContext<'_>) -> SecretBytes {
        self.derive("kek", Some(context.owner))
    }

    fn derive(&self, purpose: &str, tenant: Option<&str>) -> SecretBytes {
        hazmat::hkdf_sha256_key(&self.0, SALT, &info(purpose, tenant))
            .expect("32 bytes are within HKDF's limit")
    }
}

fn info(purpose: &str, tenant: Option<&str>) -> Vec<u8> {
    let mut items = vec![Item::Text("keyferry"), Item::Unsigned(FORMAT), Item::Text(purpose)];
    items.extend(tenant.map(Item::Text));
    cbor::array(&items)
}

fn is_constant(secret: &SecretBytes) -> bool {
    secret.expose().windows(2).all(|pair| pair[0] == pair[1])
}

fn nibble(digit: u8) -> Result<u8, InvalidMasterSecret> {
    let value = char::from(digit).to_digit(16).ok_or(InvalidMasterSecret::NotHexadecimal)?;
    Ok(value as u8)
}

const fn digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + nibble - 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyPurpose, SystemEntropy};

    const LINE: &[u8] = b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

    fn root() -> LocalRoot {
        LocalRoot::from_hex(LINE).expect("valid")
    }

    #[test]
    fn reads_the_line_it_writes() {
        assert_eq!(root().to_hex_line().expose(), LINE);
        assert_eq!(LocalRoot::from_hex(&LINE[..64]).map(|root| root.id()), Ok(root().id()));
        let upper = LINE.to_ascii_uppercase();
        assert_eq!(LocalRoot::from_hex(&upper).map(|root| root.id()), Ok(root().id()));
    }

    #[test]
    fn refuses_what_is_not_a_master_secret() {
        use InvalidMasterSecret::{Constant, Length, NotHexadecimal};
        let cases: [(&[u8], InvalidMasterSecret); 9] = [
            (b"", Length),
            (&LINE[..63], Length),
            (&[&LINE[..64], b"0"].concat(), Length),
            (&[LINE, b"\n"].concat(), Length),
            (&[&LINE[..64], b"\r\n"].concat(), Length),
            (&[&LINE[..63], b"\n\n"].concat(), NotHexadecimal),
            (&[&LINE[..63], b"g"].concat(), NotHexadecimal),
            (&[b'0'; 64], Constant),
            (&[b'a'; 64], Constant),
        ];
        for (line, expected) in cases {
            assert_eq!(LocalRoot::from_hex(line).err(), Some(expected));
        }
    }

    #[test]
    fn a_key_unwraps_for_its_own_purpose_owner_and_name_only() {
        let context = KeyContext { purpose: KeyPurpose::TenantKek, owner: "a", id: "kek_1" };
        let key = SecretBytes::new(vec![7; 32]);
        let wrapped = root().wrap(&context, &key, &SystemEntropy).expect("wraps");
        let unwraps = |context| root().unwrap(&context, &wrapped).is_ok_and(|opened| opened.ct_eq(&key));
        assert!(unwraps(context));
        assert!(!unwraps(KeyContext { purpose: KeyPurpose::Service, ..context }));
        assert!(!unwraps(KeyContext { owner: "b", ..context }));
        assert!(!unwraps(KeyContext { id: "kek_2", ..context }));
        let other = LocalRoot::generate(&SystemEntropy);
        assert!(other.unwrap(&context, &wrapped).is_err());
        assert_ne!(other.id(), root().id());
    }

    #[test]
    #[should_panic(expected = "broken")]
    fn a_stuck_entropy_source_makes_no_root() {
        struct Stuck;
        impl Entropy for Stuck {
            fn fill(&self, buf: &mut [u8]) {
                buf.fill(0xff);
            }
        }
        let _ = LocalRoot::generate(&Stuck);
    }
}
