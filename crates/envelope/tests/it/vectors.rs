//! The format is frozen: `vectors/v1/valid.json` is what this crate writes from fixed entropy, and every case of
//! `vectors/v1/invalid.json` differs from a valid one in one thing and must stay closed.
//!
//! `WRITE_VECTORS=1 cargo test -p keyferry-envelope vectors` writes the files anew; a change of them is a change of the
//! format.

use std::fs;
use std::path::PathBuf;

use keyferry_envelope::{
    ApiKey, Context, KekId, KeyContext, KeyPurpose, LocalRoot, OpenError, Sealed, ServiceSecret, TenantKek,
    capabilities, fingerprint,
};
use serde_json::{Value, json};

use crate::fixture::{CONTEXT, FixedEntropy, KEY, kek, key, other_kek, other_root, root, sealed_for};

/// The name under which the installation's secret is wrapped.
const SERVICE: KeyContext<'static> = KeyContext { purpose: KeyPurpose::Service, owner: "", id: "service_1" };

#[test]
fn the_valid_vectors_are_what_this_crate_writes_and_opens() {
    let cases = read("valid.json", valid);
    assert_eq!(cases, valid(), "the format changed");
    for case in cases.as_array().expect("a list") {
        let opened = open(case).expect("opens");
        let expected = key(case["api_key"].as_str().expect("text"));
        assert!(opened.ct_eq(&expected), "{}", case["name"]);
        let mac = service_secret(case).fingerprint_key(case["context"]["tenant"].as_str().expect("text"));
        assert_eq!(case["fingerprint"], fingerprint(&mac, &opened));
    }
}

#[test]
fn the_invalid_vectors_stay_closed() {
    let cases = read("invalid.json", invalid);
    assert_eq!(cases, invalid(), "the mutations changed");
    for case in cases.as_array().expect("a list") {
        assert!(open(case).is_err(), "{}", case["name"]);
    }
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", "v1", name].iter().collect()
}

/// The cases of a file, which is written first when that is asked for.
fn read(name: &str, cases: impl FnOnce() -> Value) -> Value {
    if std::env::var_os("WRITE_VECTORS").is_some() {
        fs::create_dir_all(path("")).expect("the directory can be made");
        let text = serde_json::to_string_pretty(&cases()).expect("encodes");
        fs::write(path(name), text + "\n").expect("the file can be written");
    }
    let text = fs::read(path(name)).expect("the vectors are part of the repository");
    serde_json::from_slice(&text).expect("valid JSON")
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).expect("hexadecimal")
}

fn root_of(case: &Value) -> LocalRoot {
    LocalRoot::from_hex(text(&case["master_secret"]).as_bytes()).expect("a master secret")
}

/// Opens a case with nothing but what the file says: the root unwraps the KEK, the KEK the DEK, the DEK opens the key.
fn open(case: &Value) -> Result<ApiKey, OpenError> {
    let [tenant, provider, origin, credential] =
        ["tenant", "provider", "origin", "credential"].map(|field| text(&case["context"][field]));
    let context = Context {
        tenant: &tenant,
        provider: &provider,
        origin: &origin,
        credential: &credential,
        version: case["context"]["version"].as_u64().and_then(|n| n.try_into().ok()).expect("a version"),
    };
    let kek_id = text(&case["kek_id"]);
    let wrapped_for = KeyContext { purpose: KeyPurpose::TenantKek, owner: &tenant, id: &kek_id };
    let secret = root_of(case).unwrap(&wrapped_for, &bytes(&case["wrapped_kek"]))?;
    let kek = TenantKek::from_secret(KekId::new(kek_id.as_str()), secret)?;
    let sealed = Sealed {
        envelope: bytes(&case["envelope"]),
        wrapped_dek: bytes(&case["wrapped_dek"]),
        kek_id: KekId::new(kek_id),
    };
    capabilities().1.open(&kek, &context, &sealed)
}

fn service_secret(case: &Value) -> ServiceSecret {
    let secret = root_of(case).unwrap(&SERVICE, &bytes(&case["wrapped_service_secret"])).expect("unwraps");
    ServiceSecret::from_secret(secret).expect("32 bytes")
}

/// `kek` under `root`, from entropy that counts up from c0.
fn wrapped(root: &LocalRoot, context: &KeyContext<'_>, kek: &TenantKek) -> Value {
    json!(hex::encode(root.wrap(context, kek.secret(), &FixedEntropy::starting_at(0xc0)).expect("wraps")))
}

/// The context under which `kek_1` of `tenant` is wrapped.
const fn kek_of(tenant: &str) -> KeyContext<'_> {
    KeyContext { purpose: KeyPurpose::TenantKek, owner: tenant, id: "kek_1" }
}

/// A case whose KEK is wrapped as it ought to be.
fn case(name: &str, context: &Context<'_>, sealed: &Sealed) -> Value {
    let line = String::from_utf8(root().to_hex_line().expose().to_vec()).expect("hexadecimal");
    json!({
        "name": name,
        "master_secret": line.trim_end(),
        "root_id": root().id(),
        "context": {
            "tenant": context.tenant,
            "provider": context.provider,
            "origin": context.origin,
            "credential": context.credential,
            "version": context.version,
        },
        "kek_id": sealed.kek_id.as_str(),
        "wrapped_kek": wrapped(&root(), &kek_of(context.tenant), &kek()),
        "envelope": hex::encode(&sealed.envelope),
        "wrapped_dek": hex::encode(&sealed.wrapped_dek),
    })
}

/// Sealed from entropy that counts up from 0x20: DEK 20..3f, salt 40..5f, nonce 60..6b, and so on.
fn valid() -> Value {
    let unicode = Context { tenant: "ténant/ü", credential: "\u{1f511}", version: u32::MAX, ..CONTEXT };
    let longest = "k".repeat(512);
    [
        ("a usual key", CONTEXT, KEY),
        ("shortest key", CONTEXT, "12345678"),
        ("63 characters, padded by one byte", CONTEXT, &longest[..63]),
        ("64 characters, padded by a block", CONTEXT, &longest[..64]),
        ("longest key", CONTEXT, &longest),
        ("context beyond ASCII, highest version", unicode, KEY),
        ("version zero", Context { version: 0, ..CONTEXT }, KEY),
    ]
    .into_iter()
    .map(|(name, context, text)| {
        let service = ServiceSecret::generate(&FixedEntropy::starting_at(0x60));
        let wrapped_service =
            root().wrap(&SERVICE, service.secret(), &FixedEntropy::starting_at(0xe0)).expect("wraps");
        let entropy = FixedEntropy::starting_at(0x20);
        let sealed = capabilities().0.seal(&kek(), &context, &key(text), &entropy).expect("seals");
        let mut case = case(name, &context, &sealed);
        case["wrapped_service_secret"] = json!(hex::encode(wrapped_service));
        case["api_key"] = json!(text);
        case["fingerprint"] = json!(fingerprint(&service.fingerprint_key(context.tenant), &key(text)));
        case
    })
    .collect()
}

fn invalid() -> Value {
    [misplaced(), mutated("envelope"), mutated("wrapped_dek"), mutated("wrapped_kek"), misplaced_keks()]
        .concat()
        .into()
}

/// Authentic bytes in the wrong place.
fn misplaced() -> Vec<Value> {
    let own = sealed_for(&CONTEXT);
    let exchanged =
        Sealed { envelope: own.wrapped_dek.clone(), wrapped_dek: own.envelope.clone(), ..own.clone() };
    let mut cases = vec![case("layers exchanged", &CONTEXT, &exchanged)];
    for (field, context) in [
        ("tenant", Context { tenant: "tenant-b", ..CONTEXT }),
        ("provider", Context { provider: "openai", ..CONTEXT }),
        ("origin", Context { origin: "https://attacker.example", ..CONTEXT }),
        ("credential", Context { credential: "cred-2", ..CONTEXT }),
        ("version", Context { version: 2, ..CONTEXT }),
    ] {
        let foreign = sealed_for(&context);
        let with_envelope = Sealed { envelope: foreign.envelope, ..own.clone() };
        let with_dek = Sealed { wrapped_dek: foreign.wrapped_dek, ..own.clone() };
        cases.extend([
            case(&format!("opened for another {field}"), &context, &own),
            case(&format!("envelope of another {field}"), &CONTEXT, &with_envelope),
            case(&format!("wrapped DEK of another {field}"), &CONTEXT, &with_dek),
        ]);
    }
    cases
}

/// A wrapped KEK in the wrong place, or another one in its place.
fn misplaced_keks() -> Vec<Value> {
    let whole = case("", &CONTEXT, &sealed_for(&CONTEXT));
    let own = kek_of(CONTEXT.tenant);
    let other_master = String::from_utf8(other_root().to_hex_line().expose().to_vec()).expect("hexadecimal");
    [
        ("another master secret", "master_secret", json!(other_master.trim_end())),
        ("wrapped by another root", "wrapped_kek", wrapped(&other_root(), &own, &kek())),
        ("wrapped for another tenant", "wrapped_kek", wrapped(&root(), &kek_of("tenant-b"), &kek())),
        ("wrapped for no tenant", "wrapped_kek", wrapped(&root(), &kek_of(""), &kek())),
        (
            "wrapped under another id",
            "wrapped_kek",
            wrapped(&root(), &KeyContext { id: "kek_2", ..own }, &kek()),
        ),
        (
            "wrapped as a service secret",
            "wrapped_kek",
            wrapped(&root(), &KeyContext { purpose: KeyPurpose::Service, ..own }, &kek()),
        ),
        (
            "wrapped as a sealing key",
            "wrapped_kek",
            wrapped(&root(), &KeyContext { purpose: KeyPurpose::Sealing, ..own }, &kek()),
        ),
        ("another KEK under the same id", "wrapped_kek", wrapped(&root(), &own, &other_kek())),
        ("the wrapped DEK in its place", "wrapped_kek", whole["wrapped_dek"].clone()),
        ("relabelled", "kek_id", json!("kek_2")),
    ]
    .into_iter()
    .map(|(name, field, value)| {
        let mut case = whole.clone();
        case["name"] = json!(format!("wrapped_kek: {name}"));
        case[field] = value;
        case
    })
    .collect()
}

/// Changed bytes of one layer. A replacement is written in hexadecimal and occurs once.
fn mutated(layer: &str) -> Vec<Value> {
    let whole = case("", &CONTEXT, &sealed_for(&CONTEXT));
    let text = whole[layer].as_str().expect("text").to_owned();
    let replaced = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replacen(from, to, 1)
    };
    let flipped = |at: usize| {
        let mut bytes = hex::decode(&text).expect("hexadecimal");
        let at = if at == usize::MAX { bytes.len() - 1 } else { at };
        bytes[at] ^= 1;
        hex::encode(bytes)
    };
    // Where a field begins: after its label and the length of its byte string.
    let start = |label: &str| text.find(label).expect("the field") / 2 + label.len() / 2;
    let (salt, commitment, nonce) = (start("3a000111715820"), start("3a000111725820"), start("a1054c"));
    [
        ("no COSE tag", text[2..].to_owned()),
        ("COSE_Mac0 tag", format!("d1{}", &text[2..])),
        ("algorithm A128GCM", replaced("a60103", "a60101")),
        ("suite 2", replaced("3a0001117001", "3a0001117002")),
        ("crit names another label", replaced("02833a00011170", "02833a00011179")),
        ("algorithm in a longer encoding", replaced("a60103", "a6011803")),
        ("nonce under the label of a partial nonce", replaced("a1054c", "a1064c")),
        ("salt changed", flipped(salt)),
        ("commitment changed", flipped(commitment)),
        ("nonce changed", flipped(nonce)),
        ("ciphertext changed", flipped(nonce + 12 + 2)),
        ("tag changed", flipped(usize::MAX)),
        ("last byte missing", text[..text.len() - 2].to_owned()),
        ("one byte more", format!("{text}00")),
        ("nothing", String::new()),
    ]
    .into_iter()
    .map(|(name, bytes)| {
        let mut case = whole.clone();
        case["name"] = json!(format!("{layer}: {name}"));
        case[layer] = json!(bytes);
        case
    })
    .collect()
}
