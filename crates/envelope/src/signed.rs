//! Signs bytes with a key that the operator keeps offline, and checks that signature: a compact JWS (RFC 7515) with
//! Ed25519 (RFC 8037). It must never read anything out of a text before the signature holds.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::entropy::Entropy;
use crate::error::{BadSignature, InvalidSealingKey};
use crate::hazmat::ed25519::{ED25519_KEY_LEN, ed25519_public, ed25519_sign, ed25519_verify};
use crate::secret::SecretBytes;

/// The one header. `typ` keeps what the same key signs for another purpose from passing for a list of sealing keys.
///
/// A header that says the same in other bytes is refused: there is nothing to choose, so there is nothing to parse.
const HEADER: &str = r#"{"alg":"EdDSA","typ":"keyferry-sealing-keys+jws"}"#;

/// Characters of the longest JWS that is looked at.
const MAX_LEN: usize = 64 * 1024;

/// What stands before the 32 bytes of a seed in PKCS #8 (RFC 8410 §7), and before a public key in
/// `SubjectPublicKeyInfo` (§4). The DER of either has one form.
const PKCS8_HEAD: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
const SPKI_HEAD: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// The operator's offline key, the private half.
pub struct SigningKey(SecretBytes);

/// The public half, by which clients tell the operator's list from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; ED25519_KEY_LEN]);

impl SigningKey {
    /// Draws a new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(SecretBytes::init(ED25519_KEY_LEN, |seed| entropy.fill(seed)))
    }

    /// Reads PEM as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidSealingKey> {
        let der = SecretBytes::try_init(PKCS8_HEAD.len() + ED25519_KEY_LEN, |der| {
            decode_pem(pem, "PRIVATE KEY", der)
        })
        .map_err(|NotPem| InvalidSealingKey::PrivatePem)?;
        let seed = der.expose().strip_prefix(&PKCS8_HEAD).ok_or(InvalidSealingKey::PrivatePem)?;
        Ok(Self(SecretBytes::init(ED25519_KEY_LEN, |copy| copy.copy_from_slice(seed))))
    }

    /// What [`from_pem`](Self::from_pem) reads.
    pub fn to_pem(&self) -> SecretBytes {
        let der = SecretBytes::init(PKCS8_HEAD.len() + ED25519_KEY_LEN, |der| {
            der[..PKCS8_HEAD.len()].copy_from_slice(&PKCS8_HEAD);
            der[PKCS8_HEAD.len()..].copy_from_slice(self.0.expose());
        });
        let (begin, end) = (begin("PRIVATE KEY"), end("PRIVATE KEY"));
        let digits = der.expose().len() / 3 * 4;
        SecretBytes::init(begin.len() + 1 + digits + 1 + end.len() + 1, |pem| {
            pem.fill(b'\n');
            pem[..begin.len()].copy_from_slice(begin.as_bytes());
            let at = begin.len() + 1;
            STANDARD.encode_slice(der.expose(), &mut pem[at..at + digits]).expect("48 bytes are 64 digits");
            pem[at + digits + 1..][..end.len()].copy_from_slice(end.as_bytes());
        })
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(ed25519_public(&self.0).expect("every seed makes a key"))
    }

    /// A compact JWS over exactly the bytes of `list`.
    pub fn sign(&self, list: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(list));
        let signature = ed25519_sign(&self.0, signed.as_bytes()).expect("every seed makes a key");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl VerifyingKey {
    /// Reads PEM as `openssl pkey -pubout` writes it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidSealingKey> {
        let mut der = [0; SPKI_HEAD.len() + ED25519_KEY_LEN];
        decode_pem(pem, "PUBLIC KEY", &mut der).map_err(|NotPem| InvalidSealingKey::PublicPem)?;
        let key = der.strip_prefix(&SPKI_HEAD).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(InvalidSealingKey::PublicPem)
    }

    /// What [`from_pem`](Self::from_pem) reads.
    pub fn to_pem(&self) -> String {
        let der = [&SPKI_HEAD[..], &self.0].concat();
        format!("{}\n{}\n{}\n", begin("PUBLIC KEY"), STANDARD.encode(der), end("PUBLIC KEY"))
    }

    /// The bytes that were signed, if `jws` is what [`SigningKey::sign`] returns for them.
    pub fn verify(&self, jws: &str) -> Result<Vec<u8>, BadSignature> {
        self.payload(jws).ok_or(BadSignature::OPAQUE)
    }

    fn payload(&self, jws: &str) -> Option<Vec<u8>> {
        let (signed, signature) = jws.rsplit_once('.').filter(|_| jws.len() <= MAX_LEN)?;
        let payload = signed.strip_prefix(&URL_SAFE_NO_PAD.encode(HEADER))?.strip_prefix('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !ed25519_verify(&self.0, signed.as_bytes(), &signature) {
            return None;
        }
        URL_SAFE_NO_PAD.decode(payload).ok()
    }
}

/// The text is not PEM of the right kind and length.
struct NotPem;

/// Decodes PEM (RFC 7468) with one line of base64 and nothing around it, to exactly the length of `der`.
fn decode_pem(pem: &[u8], label: &str, der: &mut [u8]) -> Result<(), NotPem> {
    let text = std::str::from_utf8(pem).map_err(|_| NotPem)?;
    let mut lines = text.lines();
    let [first, digits, last] = [(); 3].map(|()| lines.next());
    if first != Some(&begin(label)) || last != Some(&end(label)) || lines.next().is_some() {
        return Err(NotPem);
    }
    match STANDARD.decode_slice(digits.unwrap_or_default(), der) {
        Ok(len) if len == der.len() => Ok(()),
        _ => Err(NotPem),
    }
}

fn begin(label: &str) -> String {
    format!("-----BEGIN {label}-----")
}

fn end(label: &str) -> String {
    format!("-----END {label}-----")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemEntropy;

    /// RFC 8410 §10.3, the private key without attributes, and §10.1, the public key that belongs to it.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    fn signing() -> SigningKey {
        SigningKey::from_pem(PRIVATE.as_bytes()).expect("valid")
    }

    #[test]
    fn reads_and_writes_the_keys_of_rfc_8410() {
        assert_eq!(signing().to_pem().expose(), PRIVATE.as_bytes());
        assert_eq!(signing().verifying_key().to_pem(), PUBLIC);
        assert_eq!(VerifyingKey::from_pem(PUBLIC.as_bytes()), Ok(signing().verifying_key()));
        let windows = PRIVATE.replace('\n', "\r\n");
        assert_eq!(
            SigningKey::from_pem(windows.as_bytes()).map(|key| key.verifying_key()).ok(),
            Some(signing().verifying_key())
        );
        let made = SigningKey::generate(&SystemEntropy);
        let read = SigningKey::from_pem(made.to_pem().expose()).map(|key| key.verifying_key());
        assert_eq!(read, Ok(made.verifying_key()));
    }

    #[test]
    fn refuses_what_is_no_such_key() {
        let changed = [
            PRIVATE.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            PRIVATE.replace("MC4CAQAw", "MC4CAQEw"),
            PRIVATE.replace("BCIEIN", "BCIEI"),
            PRIVATE.replace("VhC", "VhC\n"),
            PRIVATE.replace("-----END", "----END"),
            format!("x{PRIVATE}"),
            format!("{PRIVATE}x"),
            format!("\n{PRIVATE}"),
            PUBLIC.to_owned(),
            String::new(),
        ];
        for text in changed {
            assert_ne!(text, PRIVATE);
            let refused = SigningKey::from_pem(text.as_bytes()).err();
            assert_eq!(refused, Some(InvalidSealingKey::PrivatePem), "{text}");
        }
        for text in
            [PRIVATE, "", &PUBLIC.replace("MCowBQYDK2Vw", "MCowBQYDK2Vu"), &PUBLIC.replace("uE=", "uF=")]
        {
            assert_eq!(VerifyingKey::from_pem(text.as_bytes()), Err(InvalidSealingKey::PublicPem), "{text}");
        }
    }

    #[test]
    fn what_was_signed_verifies_and_nothing_else_does() {
        let jws = signing().sign(b"{\"keys\":[]}");
        let key = signing().verifying_key();
        assert_eq!(key.verify(&jws), Ok(b"{\"keys\":[]}".to_vec()));
        let other = SigningKey::generate(&SystemEntropy);
        assert!(other.verifying_key().verify(&jws).is_err());
        for at in 0..jws.len() {
            for with in ["A", "B", "-", ".", "=", " ", ""] {
                let changed = format!("{}{with}{}", &jws[..at], &jws[at + 1..]);
                assert_eq!(key.verify(&changed).is_ok(), changed == jws, "{changed}");
            }
        }
        for changed in
            [format!("{jws}A"), format!("{jws}."), format!(".{jws}"), format!("{jws}\n"), String::new()]
        {
            assert!(key.verify(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn another_header_is_refused_although_its_signature_holds() {
        let sign = |header: &str| {
            let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
            let signature = ed25519_sign(&signing().0, signed.as_bytes()).expect("signs");
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        };
        let key = signing().verifying_key();
        assert!(key.verify(&sign(HEADER)).is_ok());
        for header in [
            r#"{"alg":"EdDSA"}"#,
            r#"{"alg":"EdDSA","typ":"JWT"}"#,
            r#"{"alg":"none","typ":"keyferry-sealing-keys+jws"}"#,
            r#"{"alg":"EdDSA","typ":"keyferry-sealing-keys+jws","crit":["x"]}"#,
            r#"{"typ":"keyferry-sealing-keys+jws","alg":"EdDSA"}"#,
            "",
        ] {
            assert!(key.verify(&sign(header)).is_err(), "{header}");
        }
    }
}
