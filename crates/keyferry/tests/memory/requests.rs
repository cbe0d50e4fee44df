//! What a client sends: the key where it may stand, path and body.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::{Value, json};

use crate::load::Case;

/// Under which keys of the session mode come.
pub const SESSION_KEY: [u8; 32] = *b"session-key-of-the-memory-suite!";

/// Nonce, ciphertext and tag.
pub fn encrypted(key: &str) -> Vec<u8> {
    let nonce = *b"twelve bytes";
    let mut text = key.as_bytes().to_vec();
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &SESSION_KEY).expect("32 bytes"))
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text)
        .expect("sealed");
    [&nonce[..], &text].concat()
}

/// A client's own place for a key. On the unified surface it is that of OpenAI, whoever serves.
pub fn own_slot(provider: &str, unified: bool, key: &str) -> (&'static str, String) {
    match provider {
        _ if unified => ("authorization", format!("Bearer {key}")),
        "openai" => ("authorization", format!("Bearer {key}")),
        "anthropic" => ("x-api-key", key.to_owned()),
        _ => ("x-goog-api-key", key.to_owned()),
    }
}

/// Path and body of a request.
pub fn ask(provider: &str, unified: bool, case: Case) -> (String, Value) {
    let model = format!("case-{}", case.name());
    let stream = matches!(case, Case::Streamed | Case::Cancelled);
    let hello = json!([{"role": "user", "content": "hello"}]);
    match provider {
        _ if unified => (
            "/v1/chat/completions".to_owned(),
            json!({"model": format!("{provider}/{model}"), "messages": hello, "stream": stream}),
        ),
        "openai" => (
            "/openai/v1/chat/completions".to_owned(),
            json!({"model": model, "messages": hello, "stream": stream}),
        ),
        "anthropic" => (
            "/anthropic/v1/messages".to_owned(),
            json!({"model": model, "max_tokens": 9, "messages": hello, "stream": stream}),
        ),
        _ => {
            let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            (
                format!("/gemini/v1beta/models/{model}:{method}"),
                json!({"contents": [{"parts": [{"text": "hello"}]}]}),
            )
        }
    }
}
