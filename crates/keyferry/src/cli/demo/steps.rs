//! The steps of the demo, in order.

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use keyferry_core::clock::{Clock, SystemClock};
use keyferry_envelope::SecretBytes;
use serde_json::{Value, json};

use super::{
    custody::{rewrap, sealed},
    folder::search,
    jwt::{AUDIENCE, Issuer, NAME},
    provider::{BUSY, Simulated},
    random_text,
    stage::Stage,
};
use crate::{
    cli::{api::send, audit::verify_store},
    config::Config,
};

/// What the steps play with.
pub(super) struct Scene {
    pub(super) url: String,
    pub(super) operator: SecretBytes,
    pub(super) provider: Simulated,
    /// Where the gateway keeps its things.
    pub(super) config: Config,
}

/// An answer, read whole.
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-")
    }

    pub(super) fn expect(self, status: StatusCode) -> anyhow::Result<Self> {
        ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.text);
        Ok(self)
    }

    pub(super) fn refused_with(self, code: &str) -> anyhow::Result<Self> {
        ensure!(self.text.contains(code), "expected {code}, got {}: {}", self.status, self.text);
        Ok(self)
    }
}

/// Keys, token and issuer of the demo's tenant.
pub(super) struct Cast {
    first_key: String,
    second_key: String,
    pub(super) carried_key: String,
    token: SecretBytes,
    pub(super) credential: String,
    issuer: Issuer,
}

pub(super) const TENANT: &str = "acme";
const CHAT: &str = "/openai/v1/chat/completions";

/// Plays all steps; the first that does not hold is shown and returned.
pub(super) async fn play(stage: &mut Stage, scene: &Scene) -> anyhow::Result<()> {
    let outcome = act(stage, scene).await;
    if let Err(error) = &outcome {
        stage.fail(error);
    }
    outcome.context("a step did not hold")
}

async fn act(stage: &mut Stage, scene: &Scene) -> anyhow::Result<()> {
    let cast = store(stage, scene).await?;
    call(stage, scene, &cast).await?;
    stream(stage, scene, &cast).await?;
    carry(stage, scene, &cast).await?;
    sealed(stage, scene, &cast).await?;
    echo(stage, scene, &cast).await?;
    replay(stage, scene, &cast).await?;
    quota(stage, scene, &cast).await?;
    rotate(stage, scene, &cast).await?;
    rewrap(stage, scene, &cast).await?;
    revoke(stage, scene, &cast).await?;
    audit(stage, scene).await?;
    disk(stage, scene, &cast)
}

async fn store(stage: &mut Stage, scene: &Scene) -> anyhow::Result<Cast> {
    stage.begin("A tenant's key is stored once");
    let key = |prefix: &str| format!("{prefix}{}", random_text(40));
    let (first_key, second_key, carried_key) = (key("sk-proj-"), key("sk-proj-"), key("sk-ant-"));
    scene.provider.accept_only(&[&first_key, &carried_key]);
    let tenant = json!({"id": TENANT, "name": "Acme", "byok_enabled": true});
    scene.admin(Method::POST, "/tenants", &tenant).await?.expect(StatusCode::CREATED)?;
    let body = json!({"provider": "openai", "api_key": first_key});
    let stored = scene.admin(Method::POST, &format!("/tenants/{TENANT}/credentials"), &body).await?;
    let stored = stored.expect(StatusCode::CREATED)?.json();
    ensure!(!stored.to_string().contains(&first_key), "the answer shows the key");
    let credential = stored["id"].as_str().unwrap_or_default().to_owned();
    stage.show(&format!(
        "{credential}  ends in {}  fingerprint {}  wrapped by {}",
        text(&stored["last4"]),
        text(&stored["fingerprint"]),
        text(&stored["kek_id"])
    ));
    let issued =
        scene.admin(Method::POST, &format!("/tenants/{TENANT}/tokens"), &json!({"role": "caller"})).await?;
    let issued = issued.expect(StatusCode::CREATED)?.json();
    let token = SecretBytes::new(text(&issued["token"]).into_bytes());
    let tested = scene
        .admin(Method::POST, &format!("/tenants/{TENANT}/credentials/{credential}/test"), &json!({}))
        .await?;
    let tested = tested.expect(StatusCode::OK)?.json();
    ensure!(tested["status"] == "ok", "the key test says {}", tested["status"]);
    stage.hold("sealed, tested with the provider, and no answer shows it");
    Ok(Cast { first_key, second_key, carried_key, token, credential, issuer: Issuer::new()? })
}

async fn call(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("An application calls OpenAI with a gateway token in the place of a key");
    let reply =
        scene.chat(cast, &json!({"model": "gpt-demo", "messages": []}), &[]).await?.expect(StatusCode::OK)?;
    stage.show(&format!("“{}”", text(&reply.json()["choices"][0]["message"]["content"])));
    ensure!(reply.header("x-keyferry-credential") == "held", "the receipt is missing");
    stage.hold(&format!(
        "served by key {} ({}), {}",
        reply.header("x-keyferry-credential-id"),
        reply.header("x-keyferry-accounting"),
        reply.header("server-timing"),
    ));
    Ok(())
}

async fn stream(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("The same, streamed: pieces pass as they come");
    let body = json!({"model": "gpt-demo", "messages": [], "stream": true});
    let request = Request::builder().method(Method::POST).uri(CHAT);
    let answer = send(&scene.url, Some(&cast.token), request, body.to_string().into()).await?;
    ensure!(answer.status() == StatusCode::OK, "answered {}", answer.status());
    let mut incoming = answer.into_body();
    let (mut pieces, mut whole) = (0, String::new());
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.context("the stream broke")?.into_data() else { continue };
        whole.push_str(&String::from_utf8_lossy(&data));
        for event in String::from_utf8_lossy(&data).split("\n\n") {
            let chunk: Value = serde_json::from_str(event.trim_start_matches("data: ")).unwrap_or_default();
            if let Some(word) = chunk["choices"][0]["delta"]["content"].as_str() {
                stage.piece(word, pieces == 0);
                pieces += 1;
            }
        }
    }
    stage.piece("\n", false);
    ensure!(pieces == 7 && whole.ends_with("data: [DONE]\n\n"), "the stream is not whole");
    let usage = scene.admin(Method::GET, &format!("/tenants/{TENANT}/usage"), &Value::Null).await?;
    let total = usage.expect(StatusCode::OK)?.json()["total"].clone();
    ensure!(total["output_tokens"] == 14, "usage is not what the provider reported: {total}");
    stage.hold(&format!(
        "7 pieces; usage of both calls: {} in, {} out",
        total["input_tokens"], total["output_tokens"]
    ));
    Ok(())
}

async fn carry(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("Anthropic and Gemini, with a key that comes with the request and is never kept");
    let carried = [("x-byok-key", cast.carried_key.as_str())];
    let body = json!({"model": "claude-demo", "max_tokens": 16, "messages": [], "stream": true});
    let messages =
        scene.post(cast, "/anthropic/v1/messages", &body, &carried).await?.expect(StatusCode::OK)?;
    ensure!(messages.text.contains("event: message_stop"), "the stream is not whole");
    stage.show(&format!("anthropic  streamed, {}", messages.header("x-keyferry-credential")));
    let path = "/gemini/v1beta/models/gemini-demo:generateContent";
    let content = scene.post(cast, path, &json!({"contents": []}), &carried).await?.expect(StatusCode::OK)?;
    stage.show(&format!(
        "gemini     “{}”",
        text(&content.json()["candidates"][0]["content"]["parts"][0]["text"])
    ));
    ensure!(content.header("x-keyferry-credential") == "carried", "the receipt is missing");
    let without = scene.post(cast, "/anthropic/v1/messages", &body, &[]).await?;
    let without = without.expect(StatusCode::NOT_FOUND)?.refused_with("BYOK_KEY_NOT_FOUND")?;
    stage.show(&format!("without one: {} {}", without.status.as_u16(), "BYOK_KEY_NOT_FOUND"));
    stage.hold("no key, no call: nobody else's is used in its place");
    Ok(())
}

async fn echo(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("Providers quote wrong keys in their errors; the gateway masks them");
    let wrong = format!("sk-proj-{}", random_text(40));
    let body = json!({"model": "gpt-demo", "messages": []});
    let reply = scene.chat(cast, &body, &[("x-byok-key", &wrong)]).await?.expect(StatusCode::UNAUTHORIZED)?;
    ensure!(!reply.text.contains(&wrong), "the answer quotes the key");
    stage.show(&format!("401  {}", text(&reply.json()["error"]["message"])));
    let busy = scene.chat(cast, &json!({"model": BUSY, "messages": []}), &[]).await?;
    let busy = busy.expect(StatusCode::TOO_MANY_REQUESTS)?;
    ensure!(busy.header("retry-after") == "7", "retry-after was lost");
    stage.show(&format!(
        "429  {}  retry-after: {}",
        text(&busy.json()["error"]["message"]),
        busy.header("retry-after")
    ));
    stage.hold("the provider's own status and body, without the key");
    Ok(())
}

async fn replay(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("A JWT of the tenant's own issuer is good for one request");
    let issuer =
        json!({"issuer": NAME, "audience": AUDIENCE, "algorithm": "ES256", "jwks": cast.issuer.jwks()});
    scene
        .admin(Method::POST, &format!("/tenants/{TENANT}/issuers"), &issuer)
        .await?
        .expect(StatusCode::CREATED)?;
    let jwt = cast.issuer.token(TENANT, &random_text(20), SystemClock.now().secs())?;
    let jwt = SecretBytes::new(jwt.into_bytes());
    let body: Bytes = json!({"model": "gpt-demo", "messages": []}).to_string().into();
    let first = scene.send_as(&jwt, CHAT, body.clone(), &[]).await?.expect(StatusCode::OK)?;
    stage.show(&format!("first   {}", first.status.as_u16()));
    let second = scene.send_as(&jwt, CHAT, body, &[]).await?;
    let second = second.expect(StatusCode::CONFLICT)?.refused_with("BYOK_REPLAY_DETECTED")?;
    stage.show(&format!("second  {}  BYOK_REPLAY_DETECTED", second.status.as_u16()));
    stage.hold("the replay was refused");
    Ok(())
}

async fn quota(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("The daily quota holds exactly, also for requests in parallel");
    let budget = scene.admin(Method::GET, &format!("/tenants/{TENANT}/budget"), &Value::Null).await?;
    let used = budget.expect(StatusCode::OK)?.json()["quota"]["used"].as_u64().unwrap_or(0);
    let path = format!("/tenants/{TENANT}");
    scene.admin(Method::PATCH, &path, &json!({"daily_quota": used + 5})).await?.expect(StatusCode::OK)?;
    let body = json!({"model": "gpt-demo", "messages": []});
    let calls = (0..12).map(|_| scene.chat(cast, &body, &[]));
    let mut passed = 0;
    for reply in futures_util::future::join_all(calls).await {
        let reply = reply?;
        if reply.status == StatusCode::OK {
            passed += 1;
        } else {
            reply.expect(StatusCode::TOO_MANY_REQUESTS)?.refused_with("BYOK_QUOTA_EXCEEDED")?;
        }
    }
    ensure!(passed == 5, "5 were left, {passed} passed");
    scene.admin(Method::PATCH, &path, &json!({"daily_quota": 10_000})).await?.expect(StatusCode::OK)?;
    stage.hold("12 at once, 5 left: 5 passed, 7 were refused with BYOK_QUOTA_EXCEEDED");
    Ok(())
}

async fn rotate(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("The key is rotated");
    scene.provider.accept_only(&[&cast.second_key]);
    let path = format!("/tenants/{TENANT}/credentials/{}/rotate", cast.credential);
    let rotated = scene.admin(Method::POST, &path, &json!({"api_key": cast.second_key})).await?;
    let rotated = rotated.expect(StatusCode::OK)?.json();
    let body = json!({"model": "gpt-demo", "messages": []});
    scene.chat(cast, &body, &[]).await?.expect(StatusCode::OK)?;
    stage.hold(&format!(
        "version {}: the next request used the new key, the old one is destroyed",
        rotated["version"]
    ));
    Ok(())
}

async fn revoke(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("The key is revoked");
    let path = format!("/tenants/{TENANT}/credentials/{}", cast.credential);
    scene.admin(Method::DELETE, &path, &Value::Null).await?.expect(StatusCode::NO_CONTENT)?;
    scene.admin(Method::DELETE, &path, &Value::Null).await?.expect(StatusCode::NOT_FOUND)?;
    let body = json!({"model": "gpt-demo", "messages": []});
    let refused = scene.chat(cast, &body, &[]).await?;
    refused.expect(StatusCode::NOT_FOUND)?.refused_with("BYOK_KEY_NOT_FOUND")?;
    stage.hold("its wrapped data key is gone; the very next request was refused");
    Ok(())
}

async fn audit(stage: &mut Stage, scene: &Scene) -> anyhow::Result<()> {
    stage.begin("Every key operation is in the audit log");
    let list = scene.admin(Method::GET, &format!("/tenants/{TENANT}/audit"), &Value::Null).await?;
    for row in list.expect(StatusCode::OK)?.json()["data"].as_array().into_iter().flatten().rev() {
        stage.show(&format!("{:>3}  {:<18}  {}", row["seq"], text(&row["action"]), text(&row["target"])));
    }
    let rows = verify_store(&scene.config).await?;
    stage.hold(&format!("the hash chain over {rows} rows is whole"));
    Ok(())
}

fn disk(stage: &mut Stage, scene: &Scene, cast: &Cast) -> anyhow::Result<()> {
    stage.begin("Nothing on disk holds a key");
    let folder = &scene.config.data_dir;
    let (_, planted) = search(folder, cast.credential.as_bytes())?;
    planted.ok_or_else(|| anyhow!("the search does not find what is there"))?;
    let mut bytes = 0;
    for key in [&cast.first_key, &cast.second_key, &cast.carried_key] {
        let (searched, found) = search(folder, key.as_bytes())?;
        ensure!(found.is_none(), "a key stands in {found:?}");
        bytes = searched;
    }
    stage.hold(&format!("{bytes} bytes searched for three keys, plain, hex and base64"));
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Scene {
    pub(super) async fn admin(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Reply> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        self.exchange(&self.operator, request, body).await
    }

    pub(super) async fn chat(
        &self,
        cast: &Cast,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Reply> {
        self.post(cast, CHAT, body, headers).await
    }

    pub(super) async fn post(
        &self,
        cast: &Cast,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Reply> {
        self.send_as(&cast.token, path, body.to_string().into(), headers).await
    }

    async fn send_as(
        &self,
        token: &SecretBytes,
        path: &str,
        body: Bytes,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Reply> {
        let request = Request::builder().method(Method::POST).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.exchange(token, request, body).await
    }

    async fn exchange(
        &self,
        token: &SecretBytes,
        request: http::request::Builder,
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let answer = send(&self.url, Some(token), request, body).await?;
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.context("the answer broke off")?.to_bytes();
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}
