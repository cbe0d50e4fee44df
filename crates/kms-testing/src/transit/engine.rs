//! One Transit engine: keys with versions, AES-256-GCM, associated data, derived keys.

use std::collections::BTreeMap;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, rand,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::http::Reply;

/// What an operation failed with: a text for the client's fault, the status otherwise.
type Failed = (u16, String);

struct Key {
    kind: String,
    derived: bool,
    versions: Vec<[u8; 32]>,
    min_decryption: usize,
}

/// The engine behind one mount.
#[derive(Default)]
pub struct Engine(BTreeMap<String, Key>);

impl Engine {
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn create(&mut self, name: &str, wanted: &Value) -> Reply {
        let kind = wanted["type"].as_str().unwrap_or("aes256-gcm96").to_owned();
        let derived = wanted["derived"].as_bool().unwrap_or(false);
        let key = self.0.entry(name.to_owned()).or_insert_with(|| Key {
            kind,
            derived,
            versions: vec![fresh()],
            min_decryption: 1,
        });
        Reply::data(&key.data(name))
    }

    pub fn rotate(&mut self, name: &str) -> Reply {
        self.with(name, |key| {
            key.versions.push(fresh());
            Ok(key.data(name))
        })
    }

    pub fn configure(&mut self, name: &str, wanted: &Value) -> Reply {
        self.with(name, |key| {
            if let Some(version) = wanted["min_decryption_version"].as_u64() {
                key.min_decryption = version as usize;
            }
            Ok(key.data(name))
        })
    }

    pub fn encrypt(&mut self, name: &str, asked: &Value) -> Reply {
        let context = asked["context"].as_str().unwrap_or_default();
        if !self.has(name) {
            self.create(name, &json!({"derived": !context.is_empty()}));
        }
        self.with(name, |key| {
            let Some(plaintext) = asked["plaintext"].as_str() else {
                return Err((400, "missing plaintext to encrypt".to_owned()));
            };
            let plaintext = decoded(plaintext).map_err(|text| (400, text))?;
            let sealed =
                key.seal(&decoded(context).map_err(|text| (400, text))?, &key.aad(asked)?, plaintext)?;
            Ok(json!({"ciphertext": sealed, "key_version": key.versions.len()}))
        })
    }

    pub fn decrypt(&mut self, name: &str, asked: &Value) -> Reply {
        self.with(name, |key| {
            let plaintext = key.open_asked(asked, |key| key.aad(asked))?;
            Ok(json!({"plaintext": STANDARD.encode(plaintext)}))
        })
    }

    /// It knows no associated data.
    pub fn rewrap(&mut self, name: &str, asked: &Value) -> Reply {
        self.with(name, |key| {
            let plaintext = key.open_asked(asked, |_| Ok(Vec::new()))?;
            let context =
                decoded(asked["context"].as_str().unwrap_or_default()).map_err(|text| (400, text))?;
            let sealed = key.seal(&context, &[], plaintext)?;
            Ok(json!({"ciphertext": sealed, "key_version": key.versions.len()}))
        })
    }

    fn with(&mut self, name: &str, work: impl FnOnce(&mut Key) -> Result<Value, Failed>) -> Reply {
        let Some(key) = self.0.get_mut(name) else { return Reply::error(400, "encryption key not found") };
        match work(key) {
            Ok(data) => Reply::data(&data),
            Err((status, text)) => Reply::error(status, &text),
        }
    }
}

impl Key {
    fn aad(&self, asked: &Value) -> Result<Vec<u8>, Failed> {
        let text = asked["associated_data"].as_str().unwrap_or_default();
        if !text.is_empty() && self.kind != "aes256-gcm96" {
            let kind = &self.kind;
            let told = format!("'[0].associated_data' provided for non-AEAD cipher suite {kind}");
            return Err((400, told));
        }
        decoded(text).map_err(|text| {
            let told = "unable to get associated_data/additional_data from factory[0]";
            (500, format!("1 error occurred:\n\t* {told}: {text}\n\n"))
        })
    }

    fn seal(&self, context: &[u8], aad: &[u8], mut bytes: Vec<u8>) -> Result<String, Failed> {
        let version = self.versions.len();
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("random bytes");
        self.cipher(context, version)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut bytes)
            .expect("sealed");
        Ok(format!("vault:v{version}:{}", STANDARD.encode([nonce.as_slice(), &bytes].concat())))
    }

    fn open_asked(
        &self,
        asked: &Value,
        aad: impl FnOnce(&Self) -> Result<Vec<u8>, Failed>,
    ) -> Result<Vec<u8>, Failed> {
        let told = |text: &str| (400, text.to_owned());
        let ciphertext = asked["ciphertext"].as_str().unwrap_or_default();
        if ciphertext.is_empty() {
            return Err(told("missing ciphertext to decrypt"));
        }
        let context = decoded(asked["context"].as_str().unwrap_or_default()).map_err(|text| (400, text))?;
        let aad = aad(self)?;
        let rest = ciphertext.strip_prefix("vault:v").ok_or(told("invalid ciphertext: no prefix"))?;
        let (version, sealed) =
            rest.split_once(':').ok_or(told("invalid ciphertext: wrong number of fields"))?;
        let version: usize =
            version.parse().map_err(|_| told("invalid ciphertext: version number could not be decoded"))?;
        let version = version.max(1);
        if version > self.versions.len() {
            return Err(told("invalid ciphertext: version is too new"));
        }
        if version < self.min_decryption {
            return Err(told("ciphertext or signature version is disallowed by policy (too old)"));
        }
        let mut sealed = decoded(sealed).map_err(|_| told("invalid ciphertext: could not decode base64"))?;
        let cipher = self.cipher(&context, version)?;
        if sealed.len() < NONCE_LEN {
            return Err(told("invalid ciphertext length"));
        }
        let nonce = Nonce::try_assume_unique_for_key(&sealed[..NONCE_LEN]).expect("12 bytes");
        cipher
            .open_in_place(nonce, Aad::from(aad), &mut sealed[NONCE_LEN..])
            .map(|plain| plain.to_vec())
            .map_err(|_| told("cipher: message authentication failed"))
    }

    fn cipher(&self, context: &[u8], version: usize) -> Result<LessSafeKey, Failed> {
        let mut key = self.versions[version - 1];
        if self.derived {
            if context.is_empty() {
                let told = "missing 'context' for key derivation; the key was created using a derived key, \
                            which means additional, per-request information must be included in order to \
                            perform operations with the key";
                return Err((400, told.to_owned()));
            }
            let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
            let info = [context];
            let derived =
                salt.extract(&key).expand(&info, hkdf::HKDF_SHA256).expect("expanded").fill(&mut key);
            derived.expect("32 bytes");
        }
        Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes")))
    }

    fn data(&self, name: &str) -> Value {
        let versions = (self.min_decryption..=self.versions.len()).map(|n| (n.to_string(), json!(0)));
        let mut data = json!({
            "allow_plaintext_backup": false, "auto_rotate_period": 0, "deletion_allowed": false,
            "derived": self.derived, "exportable": false, "imported_key": false,
            "keys": versions.collect::<Map<_, _>>(), "latest_version": self.versions.len(),
            "min_available_version": 0, "min_decryption_version": self.min_decryption,
            "min_encryption_version": 0, "name": name, "soft_deleted": false, "supports_decryption": true,
            "supports_derivation": true, "supports_encryption": true, "supports_signing": false,
            "type": self.kind,
        });
        if self.derived {
            data["convergent_encryption"] = json!(false);
            data["kdf"] = json!("hkdf_sha256");
        }
        data
    }
}

fn fresh() -> [u8; 32] {
    let mut key = [0; 32];
    rand::fill(&mut key).expect("random bytes");
    key
}

/// With the words of Go's decoder for a first byte that is none; the tests send no other.
fn decoded(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| "illegal base64 data at input byte 0".to_owned())
}
