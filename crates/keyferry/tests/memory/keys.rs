//! Every secret key of an installation, derived from outside: from its key file and its database, with a second
//! implementation of what `crates/envelope/README.md` says.

use std::{collections::HashMap, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

const ROOT_SALT: &[u8] = b"keyferry local root";
const SERVICE_SALT: &[u8] = b"keyferry service secret";

/// A key and what it is.
pub struct Known {
    pub class: &'static str,
    pub bytes: Vec<u8>,
}

fn known(class: &'static str, bytes: &[u8]) -> Known {
    Known { class, bytes: bytes.to_vec() }
}

/// What of a stored credential leads to its keys.
struct Stored {
    tenant: String,
    provider: String,
    credential: String,
    version: i64,
    origin: String,
    kek_id: String,
    wrapped_dek: Vec<u8>,
    envelope: Vec<u8>,
}

/// The master secret and everything below it: the keys it derives, what they wrap (KEKs, the service secret, sealing
/// keys), DEKs, the keys of each layer, the keys for MACs, the private keys that sealing keys stand for.
pub async fn all(data: &Path) -> Vec<Known> {
    let line = std::fs::read_to_string(data.join("master.key")).expect("the key file");
    let master =
        data_encoding::HEXLOWER_PERMISSIVE.decode(line.trim_end().as_bytes()).expect("hexadecimal digits");
    let mut connection = connect(&data.join("keyferry.db")).await;
    let mut keys = vec![known("master secret", &master)];
    let mut keks = HashMap::new();
    for wrapped in wrapped(&mut connection).await {
        let wrapping = hkdf(&master, ROOT_SALT, &array(&[T("keyferry"), N(1), T("kek"), T(&wrapped.owner)]));
        let bound = [T("keyferry"), N(1), T("key"), T(&wrapped.purpose), T(&wrapped.owner), T(&wrapped.id)];
        let (layer, key) = open(&wrapping, &array(&bound), &wrapped.wrapped);
        keys.extend([known("KEK", &wrapping), known("layer key", &layer)]);
        match wrapped.purpose.as_str() {
            "tenant-kek" => {
                keys.push(known("KEK", &key));
                keks.insert(wrapped.id, key);
            }
            "sealing" => keys.extend(of_sealing_key(wrapped.kem, &key)),
            _ => {
                let mac = |info: &[Item<'_>]| known("MAC key", &hkdf(&key, SERVICE_SALT, &array(info)));
                keys.push(known("MAC key", &key));
                keys.push(mac(&[T("keyferry"), N(1), T("audit")]));
                keys.push(mac(&[T("keyferry"), N(1), T("fingerprint"), T("tenant-0")]));
            }
        }
    }
    for stored in stored(&mut connection).await {
        let mut bound = vec![
            T("keyferry"),
            N(1),
            T("dek"),
            T(&stored.tenant),
            T(&stored.provider),
            T(&stored.credential),
            N(stored.version as u64),
            T(&stored.origin),
            T(&stored.kek_id),
        ];
        let (wrapping, dek) = open(&keks[&stored.kek_id], &array(&bound), &stored.wrapped_dek);
        bound[2] = T("record");
        bound.pop();
        let (content, key) = open(&dek, &array(&bound), &stored.envelope);
        assert!(key.starts_with(b"sk-") || key.starts_with(b"AIza"), "the derivation is right");
        keys.extend([known("layer key", &wrapping), known("DEK", &dek), known("layer key", &content)]);
    }
    connection.close().await.expect("it closes");
    keys
}

/// The secret of a sealing key, and the private key that RFC 9180 §7.1.3 derives from it.
fn of_sealing_key(kem: i64, secret: &[u8]) -> [Known; 2] {
    let suite = [b"KEM".as_slice(), &u16::try_from(kem).expect("a KEM").to_be_bytes()].concat();
    let labeled = |label: &str, more: &[u8]| [b"HPKE-v1", &suite[..], label.as_bytes(), more].concat();
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"").extract(&labeled("dkp_prk", secret));
    let (label, context): (&str, &[u8]) = if kem == 32 { ("sk", b"") } else { ("candidate", &[0]) };
    let info = [&32_u16.to_be_bytes(), &labeled(label, context)[..]].concat();
    let mut scalar = vec![0; 32];
    prk.expand(&[&info], Len).and_then(|okm| okm.fill(&mut scalar)).expect("32 bytes");
    [known("sealing key", secret), known("sealing key", &scalar)]
}

/// A key under the master secret.
struct Wrapped {
    purpose: String,
    owner: String,
    id: String,
    wrapped: Vec<u8>,
    /// 0 for what is no sealing key.
    kem: i64,
}

async fn wrapped(connection: &mut SqliteConnection) -> Vec<Wrapped> {
    let rows = sqlx::query(
        "SELECT w.purpose, w.owner, w.id, w.wrapped, coalesce(s.kem, 0) FROM wrapped_keys w
         LEFT JOIN sealing_keys s ON w.purpose = 'sealing' AND s.kid = w.id",
    )
    .fetch_all(connection)
    .await
    .expect("rows");
    let read = |row: &sqlx::sqlite::SqliteRow| Wrapped {
        purpose: row.get(0),
        owner: row.get(1),
        id: row.get(2),
        wrapped: row.get(3),
        kem: row.get(4),
    };
    rows.iter().map(read).collect()
}

async fn connect(database: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(false).read_only(true);
    options.connect().await.expect("the database opens")
}

async fn stored(connection: &mut SqliteConnection) -> Vec<Stored> {
    let rows = sqlx::query(
        "SELECT c.tenant_id, c.provider, c.id, v.version, v.origin, v.kek_id, v.wrapped_dek, v.envelope
         FROM credential_versions v JOIN credentials c ON c.id = v.credential_id",
    )
    .fetch_all(connection)
    .await
    .expect("rows");
    rows.iter()
        .map(|row| Stored {
            tenant: row.get(0),
            provider: row.get(1),
            credential: row.get(2),
            version: row.get(3),
            origin: row.get(4),
            kek_id: row.get(5),
            wrapped_dek: row.get(6),
            envelope: row.get(7),
        })
        .collect()
}

/// Opens a layer; answers the key that was derived for it, and what was in it.
fn open(secret: &[u8], external_aad: &[u8], layer: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // d0 83 58 len protected a1 05 4c nonce 58|59 len ciphertext
    let protected = &layer[4..4 + usize::from(layer[3])];
    let rest = &layer[4 + protected.len()..];
    let nonce: [u8; 12] = rest[3..15].try_into().expect("a nonce");
    let ciphertext = match rest[15] {
        0x58 => &rest[17..],
        _ => &rest[18..],
    };
    let salt = after(protected, &[0x3a, 0x00, 0x01, 0x11, 0x71, 0x58, 0x20]);
    let key = hkdf(secret, &salt[..32], &array(&[T("keyferry/key"), B(external_aad)]));
    let aad = array(&[T("Encrypt0"), B(protected), B(external_aad)]);
    let mut plain = ciphertext.to_vec();
    let opener = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes"));
    let nonce = Nonce::assume_unique_for_key(nonce);
    let len = opener.open_in_place(nonce, Aad::from(aad), &mut plain).expect("it opens").len();
    plain.truncate(len);
    (key, plain)
}

fn after<'a>(bytes: &'a [u8], marker: &[u8]) -> &'a [u8] {
    let at = bytes.windows(marker.len()).position(|window| window == marker).expect("the marker");
    &bytes[at + marker.len()..]
}

struct Len;
impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        32
    }
}

fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> Vec<u8> {
    let mut key = vec![0; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    prk.expand(&[info], Len).and_then(|okm| okm.fill(&mut key)).expect("32 bytes");
    key
}

/// An item of deterministic CBOR (RFC 8949): a text, bytes, a number.
enum Item<'a> {
    T(&'a str),
    B(&'a [u8]),
    N(u64),
}
use Item::{B, N, T};

fn array(items: &[Item<'_>]) -> Vec<u8> {
    let mut bytes = head(4, items.len() as u64);
    for item in items {
        match item {
            T(text) => bytes.extend([head(3, text.len() as u64), text.as_bytes().to_vec()].concat()),
            B(blob) => bytes.extend([head(2, blob.len() as u64), blob.to_vec()].concat()),
            N(number) => bytes.extend(head(0, *number)),
        }
    }
    bytes
}

fn head(major: u8, value: u64) -> Vec<u8> {
    let major = major << 5;
    match value {
        0..24 => vec![major | value as u8],
        24..0x100 => vec![major | 24, value as u8],
        _ => [&[major | 25][..], &u16::try_from(value).expect("short").to_be_bytes()].concat(),
    }
}
