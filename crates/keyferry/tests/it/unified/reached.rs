//! Each operation reaches each provider that has it, at its endpoint in the dialect of OpenAI.

use serde_json::json;

use super::{CHAT, FORM, Scene, asked, recording};
use crate::harness::{Answer, Connection, OPENAI_STREAM, Piece};

const JSON: &str = "application/json";
const OPERATIONS: [(&str, &str); 4] = [
    ("chat.completions", "/chat/completions"),
    ("responses", "/responses"),
    ("embeddings", "/embeddings"),
    ("audio.transcriptions", "/audio/transcriptions"),
];
/// Where each provider takes them, and which it has.
const PROVIDERS: [(&str, &str, &[&str]); 4] = [
    ("openai", "/v1", &["chat.completions", "responses", "embeddings", "audio.transcriptions"]),
    ("anthropic", "/v1", &["chat.completions"]),
    ("gemini", "/v1beta/openai", &["chat.completions", "embeddings"]),
    ("acme", "/base/v1", &["chat.completions", "responses", "embeddings", "audio.transcriptions"]),
];

/// A body for an operation, and the same as the provider gets it.
fn bodies(operation: &str, provider: &str) -> (&'static str, Vec<u8>, Vec<u8>) {
    let (asked, named) = (format!("{provider}/the/model:1"), "the/model:1");
    if operation == "audio.transcriptions" {
        return (FORM, recording(&asked), recording(named));
    }
    let body = |model: &str| {
        format!(
            "{{ \"input\": \"model\",\r\n\t\"model\": \"{model}\", \"n\": 1.50, \"x\": [{{\"model\": \"{asked}\"}}]}} "
        )
    };
    (JSON, body(&asked).into_bytes(), body(named).into_bytes())
}

#[tokio::test]
async fn each_operation_at_each_provider_with_only_its_model_renamed() {
    let scene = Scene::start("").await;
    let names = ["openai", "anthropic", "gemini", "acme"];
    let (someone, keys) = scene.tenant_with("all", names).await;
    let mut count = 0;
    for (operation, path) in OPERATIONS {
        for ((provider, prefix, has), key) in PROVIDERS.iter().zip(&keys) {
            let (content_type, body, expected) = bodies(operation, provider);
            let reply = scene.send(&someone, &format!("/v1{path}"), content_type, &body).await;
            if !has.contains(&operation) {
                reply.refused(400, "BYOK_UNKNOWN_OPERATION");
                continue;
            }
            let reply = reply.expect(200);
            assert_eq!(reply.header("x-keyferry-model"), format!("{provider}/the/model:1"));
            assert_eq!(reply.header("x-keyferry-credential"), "held");
            assert_eq!(reply.header("x-keyferry-accounting"), "BYOK_NO_BUDGET");
            count += 1;
            assert_eq!(scene.provider.count(), count);
            let seen = scene.provider.last();
            assert_eq!((asked(&seen), seen.target.as_str()), (*provider, format!("{prefix}{path}").as_str()));
            assert_eq!(seen.header("authorization"), format!("Bearer {key}"), "{provider} {operation}");
            assert_eq!((seen.header("x-api-key"), seen.header("x-goog-api-key")), ("", ""), "{provider}");
            assert_eq!(seen.header("content-type"), content_type);
            assert_eq!(seen.header("content-length"), expected.len().to_string());
            assert!(seen.body == expected, "{provider} {operation}: {}", String::from_utf8_lossy(&seen.body));
            let row = scene.gateway.usage_row(&someone.id, count).await;
            assert_eq!((&row["provider"], &row["operation"]), (&json!(provider), &json!(operation)));
            assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(11), &json!(7)), "{row}");
        }
    }
    assert_eq!(scene.used(&someone).await, count as u64, "what was refused is not counted");
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_and_is_metered_whoever_serves() {
    let scene = Scene::start("").await;
    let (someone, _) = scene.tenant_with("all", ["openai", "anthropic", "gemini", "acme"]).await;
    for (count, provider) in ["openai", "anthropic", "gemini", "acme"].into_iter().enumerate() {
        let body = json!({"model": format!("{provider}/m"), "messages": [], "stream": true});
        let reply = scene.gateway.post(&someone.token, CHAT, &[], &body).await.expect(200);
        assert!(reply.whole, "{provider}");
        assert_eq!(reply.text(), OPENAI_STREAM.concat(), "{provider}");
        assert_eq!(reply.header("x-keyferry-model"), format!("{provider}/m"));
        assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8");
        let row = scene.gateway.usage_row(&someone.id, count + 1).await;
        assert_eq!(
            (&row["input_tokens"], &row["usage_source"]),
            (&json!(11), &json!("reported")),
            "{provider}"
        );
        assert_eq!((&row["outcome"], &row["model"]), (&json!("ok"), &json!("gpt-4.1-mini")), "{provider}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_of_openai() {
    let cut = Answer::events().chunk(OPENAI_STREAM[0]).then_reset();
    let scene = Scene::answering(cut).await;
    let (someone, _) = scene.tenant_with("all", ["openai", "anthropic", "gemini"]).await;
    for provider in ["openai", "anthropic", "gemini"] {
        let bearer = format!("Bearer {}", someone.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", JSON)];
        let body = json!({"model": format!("{provider}/m"), "messages": [], "stream": true}).to_string();
        let mut connection = Connection::open(scene.gateway.port()).await;
        connection.request("POST", CHAT, &headers, body.as_bytes()).await;
        assert_eq!(connection.head().await.status, 200);
        let said = connection.until_text("BYOK_UPSTREAM_ERROR").await;
        assert!(said.starts_with(OPENAI_STREAM[0]), "{provider}: {said}");
        assert!(said.contains("data: {\"error\":{"), "{provider}: {said}");
        assert!(!said.contains("[DONE]"), "{provider}: {said}");
        assert_eq!(connection.chunk().await, Piece::Broken, "{provider}");
    }
}
