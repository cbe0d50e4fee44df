//! Seals, opens, signs and verifies for whoever asks: one JSON object a line in, one out. The other side of
//! `tests/interop`, where other implementations ask; see there for the fields.
//!
//! Keys come and go in the clear here: for tests only.

#![expect(clippy::print_stdout, reason = "the answers are what it is for")]

use std::error::Error;
use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_envelope::{
    ApiKey, Kem, Kid, SealFor, SealPurpose, SealedKey, SealingKey, SealingPublicKey, SecretBytes, SigningKey,
    SystemEntropy, VerifyingKey, seal_key,
};
use serde_json::{Value, json};

type Answer = Result<Value, Box<dyn Error>>;

fn main() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?).map_err(Into::into).and_then(|asked| answer(&asked));
        println!("{}", answer.unwrap_or_else(|error| json!({"error": error.to_string()})));
        io::stdout().flush()?;
    }
    Ok(())
}

fn answer(asked: &Value) -> Answer {
    match text(asked, "do")? {
        "public" => public(asked),
        "seal" => seal(asked),
        "open" => open(asked),
        "sign" => sign(asked),
        "verify" => verify(asked),
        other => Err(format!("nothing to do for {other}").into()),
    }
}

fn public(asked: &Value) -> Answer {
    Ok(json!({"public_key": URL_SAFE_NO_PAD.encode(sealing_key(asked)?.public().as_bytes())}))
}

fn seal(asked: &Value) -> Answer {
    let public =
        SealingPublicKey::from_bytes(kem(asked)?, &URL_SAFE_NO_PAD.decode(text(asked, "public_key")?)?)?;
    let sealed_for = SealFor {
        purpose: purpose(asked)?,
        tenant: text(asked, "tenant")?,
        provider: text(asked, "provider")?,
        ts: asked["ts"].as_u64().ok_or("no ts")?,
    };
    let key = ApiKey::parse(SecretBytes::new(text(asked, "key")?.as_bytes().to_vec()))?;
    let kid = Kid::parse(text(asked, "kid")?)?;
    Ok(json!({"text": seal_key(&public, &kid, &sealed_for, &key, &SystemEntropy)?}))
}

fn open(asked: &Value) -> Answer {
    let sealed = SealedKey::parse(text(asked, "text")?.as_bytes())?;
    let key = sealed.open(&sealing_key(asked)?, purpose(asked)?, text(asked, "tenant")?)?;
    let key = std::str::from_utf8(key.expose())?;
    Ok(json!({"key": key, "kid": sealed.kid(), "provider": sealed.provider(), "ts": sealed.ts()}))
}

fn sign(asked: &Value) -> Answer {
    let key = SigningKey::from_pem(text(asked, "pem")?.as_bytes())?;
    Ok(json!({"jws": key.sign(text(asked, "list")?.as_bytes())}))
}

fn verify(asked: &Value) -> Answer {
    let key = VerifyingKey::from_pem(text(asked, "pem")?.as_bytes())?;
    Ok(json!({"list": String::from_utf8(key.verify(text(asked, "jws")?)?)?}))
}

fn sealing_key(asked: &Value) -> Result<SealingKey, Box<dyn Error>> {
    let secret = SecretBytes::new(URL_SAFE_NO_PAD.decode(text(asked, "secret")?)?);
    Ok(SealingKey::from_secret(kem(asked)?, secret)?)
}

fn kem(asked: &Value) -> Result<Kem, Box<dyn Error>> {
    let id = asked["kem"].as_u64().and_then(|id| id.try_into().ok());
    id.and_then(Kem::from_id).ok_or_else(|| "no such KEM".into())
}

fn purpose(asked: &Value) -> Result<SealPurpose, Box<dyn Error>> {
    match text(asked, "purpose")? {
        "request" => Ok(SealPurpose::Request),
        "store" => Ok(SealPurpose::Store),
        _ => Err("no such purpose".into()),
    }
}

fn text<'a>(asked: &'a Value, name: &str) -> Result<&'a str, Box<dyn Error>> {
    asked[name].as_str().ok_or_else(|| format!("no {name}").into())
}
