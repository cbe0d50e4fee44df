//! The list of public keys that clients seal to: what is published and signed, and what a client makes of it. It must
//! never take a key out of a list whose signature was asked for and does not hold.

mod stored;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keyferry_envelope::{Kem, Kid, SealingPublicKey, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
pub use stored::{SKEW_SECS, SealClaim, SealUse, StoredSealingKey};

/// Bytes of the longest list that is read.
const MAX_LEN: usize = 64 * 1024;

/// Keys in the longest list that is read.
const MAX_KEYS: usize = 64;

/// A public key as it is published.
///
/// Numbers are those of the registries of RFC 9180. A member that is not known is passed over: a later gateway may
/// say more about a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedKey {
    /// Its name.
    pub kid: String,
    /// The key-encapsulation mechanism: 16 for P-256, 32 for X25519.
    pub kem: u16,
    /// The key-derivation function: 1, HKDF-SHA256.
    pub kdf: u16,
    /// The cipher: 2, AES-256-GCM.
    pub aead: u16,
    /// Base64url without padding.
    pub public_key: String,
    /// From when on clients should use it.
    pub not_before: Timestamp,
    /// From when on it opens nothing.
    pub not_after: Timestamp,
}

/// All keys of a gateway that open something, now or soon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingKeyList {
    /// In no order that means anything.
    pub keys: Vec<PublishedKey>,
}

/// Why a list gives no key. Quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListRefused {
    /// It is not signed, or by somebody else.
    #[error("the list of sealing keys is not signed by the given key")]
    Signature,
    /// It is no such list, or too long for one.
    #[error("this is no list of sealing keys")]
    Malformed,
}

impl PublishedKey {
    /// What to publish of a key.
    pub fn new(kid: &Kid, public: &SealingPublicKey, not_before: Timestamp, not_after: Timestamp) -> Self {
        Self {
            kid: kid.as_str().to_owned(),
            kem: public.kem().id(),
            kdf: public.kdf_id(),
            aead: public.aead_id(),
            public_key: URL_SAFE_NO_PAD.encode(public.as_bytes()),
            not_before,
            not_after,
        }
    }

    /// The key to seal to, if it is of a suite that this program has, and is a key at all.
    pub fn read(&self) -> Option<(Kid, SealingPublicKey)> {
        let kid = Kid::parse(&self.kid).ok()?;
        let bytes = URL_SAFE_NO_PAD.decode(&self.public_key).ok()?;
        let public = SealingPublicKey::from_bytes(Kem::from_id(self.kem)?, &bytes).ok()?;
        let same_suite = (self.kdf, self.aead) == (public.kdf_id(), public.aead_id());
        same_suite.then_some((kid, public))
    }

    /// Whether `now` is in its time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

impl SealingKeyList {
    /// The one text of this list, over which it is signed.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a list of texts and numbers encodes")
    }

    /// The list as a compact JWS.
    pub fn sign(&self, key: &SigningKey) -> String {
        key.sign(self.to_json().as_bytes())
    }

    /// Reads a list that nobody signed.
    pub fn parse(json: &[u8]) -> Result<Self, ListRefused> {
        let list: Self = Some(json)
            .filter(|json| json.len() <= MAX_LEN)
            .and_then(|json| serde_json::from_slice(json).ok())
            .ok_or(ListRefused::Malformed)?;
        if list.keys.len() > MAX_KEYS { Err(ListRefused::Malformed) } else { Ok(list) }
    }

    /// The list that a JWS says it is of, whoever signed it.
    pub fn payload_of(jws: &str) -> Option<Self> {
        let payload = jws.split('.').nth(1)?;
        Self::parse(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// Reads a list out of what [`sign`](Self::sign) made of it.
    pub fn verify(jws: &str, key: &VerifyingKey) -> Result<Self, ListRefused> {
        Self::parse(&key.verify(jws).map_err(|_| ListRefused::Signature)?)
    }

    /// The key to seal to now: of those that are live and understood, the one that came last.
    pub fn choose(&self, now: Timestamp) -> Option<(Kid, SealingPublicKey)> {
        let mut live: Vec<&PublishedKey> = self.keys.iter().filter(|key| key.is_live(now)).collect();
        live.sort_by_key(|key| std::cmp::Reverse(key.not_before));
        live.into_iter().find_map(PublishedKey::read)
    }
}

#[cfg(test)]
mod tests {
    use keyferry_envelope::{SealingKey, SystemEntropy};

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn published(kid: &str, kem: Kem, from: i64, to: i64) -> PublishedKey {
        let key = SealingKey::generate(kem, &SystemEntropy);
        PublishedKey::new(&Kid::parse(kid).expect("a name"), key.public(), at(from), at(to))
    }

    fn chosen(keys: &[PublishedKey], now: i64) -> Option<String> {
        let list = SealingKeyList { keys: keys.to_vec() };
        list.choose(at(now)).map(|(kid, _)| kid.as_str().to_owned())
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_as_it_was_signed() {
        let keys = vec![published("a", Kem::P256, 0, 10), published("b", Kem::X25519, 5, 15)];
        let list = SealingKeyList { keys };
        assert_eq!(SealingKeyList::parse(list.to_json().as_bytes()), Ok(list.clone()));
        let signing = SigningKey::generate(&SystemEntropy);
        let jws = list.sign(&signing);
        assert_eq!(SealingKeyList::verify(&jws, &signing.verifying_key()), Ok(list.clone()));
        let other = SigningKey::generate(&SystemEntropy).verifying_key();
        assert_eq!(SealingKeyList::verify(&jws, &other), Err(ListRefused::Signature));
        assert_eq!(
            SealingKeyList::verify(&list.to_json(), &signing.verifying_key()),
            Err(ListRefused::Signature)
        );
    }

    #[test]
    fn the_text_of_a_list_has_the_documented_members() {
        let mut key = published("kid_1", Kem::X25519, 0, 86_400);
        key.public_key = "AAAA".to_owned();
        assert_eq!(
            SealingKeyList { keys: vec![key] }.to_json(),
            r#"{"keys":[{"kid":"kid_1","kem":32,"kdf":1,"aead":2,"public_key":"AAAA","#.to_owned()
                + r#""not_before":"1970-01-01T00:00:00.000Z","not_after":"1970-01-02T00:00:00.000Z"}]}"#
        );
    }

    #[test]
    fn the_key_that_came_last_and_is_live_is_chosen() {
        let keys = [published("old", Kem::P256, 0, 20), published("new", Kem::P256, 10, 30)];
        let expected = [
            (-1, None),
            (0, Some("old")),
            (9, Some("old")),
            (10, Some("new")),
            (20, Some("new")),
            (30, None),
        ];
        for (now, kid) in expected {
            assert_eq!(chosen(&keys, now).as_deref(), kid, "at {now}");
        }
    }

    #[test]
    fn keys_that_are_not_understood_are_passed_over() {
        let good = published("good", Kem::P256, 0, 20);
        let newer = |change: fn(&mut PublishedKey)| {
            let mut key = published("newer", Kem::X25519, 5, 20);
            change(&mut key);
            key
        };
        assert_eq!(chosen(&[good.clone(), newer(|_| ())], 10).as_deref(), Some("newer"));
        let changes: [fn(&mut PublishedKey); 8] = [
            |key| key.kem = 0x0011,
            |key| key.kem = 0x0010,
            |key| key.kdf = 2,
            |key| key.aead = 3,
            |key| key.kid = "a;b".to_owned(),
            |key| key.public_key.push('='),
            |key| key.public_key = "A".repeat(43),
            |key| key.public_key.clear(),
        ];
        for change in changes {
            assert_eq!(chosen(&[good.clone(), newer(change)], 10).as_deref(), Some("good"));
        }
    }

    #[test]
    fn what_is_no_list_is_refused_and_a_member_more_is_not() {
        let json = SealingKeyList { keys: vec![published("a", Kem::P256, 0, 10)] }.to_json();
        let more = json.replace("\"kem\"", "\"note\":1,\"kem\"");
        assert!(SealingKeyList::parse(more.as_bytes()).is_ok());
        let many = format!("{{\"keys\":[{}]}}", vec![&json[9..json.len() - 2]; 65].join(","));
        for text in [
            "",
            "[]",
            "{}",
            "{\"keys\":{}}",
            &json[1..],
            &format!("{json}x"),
            &json.replace("\"kem\":16", "\"kem\":\"16\""),
            &json.replace("\"kem\":16", "\"kem\":65552"),
            &json.replace("\"kem\":16,", ""),
            &json.replace("1970-01-01", "1970-13-01"),
            &many,
            &format!("{json}{}", " ".repeat(64 * 1024)),
        ] {
            assert_ne!(text, json);
            assert_eq!(SealingKeyList::parse(text.as_bytes()), Err(ListRefused::Malformed), "{text}");
        }
    }
}
