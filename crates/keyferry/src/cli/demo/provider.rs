//! A provider that behaves like the real ones: streams with usage, refuses wrong keys and quotes
//! them while it does, limits rates.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use keyferry_envelope::SecretBytes;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Sleep};

/// Between two pieces of a stream.
const PACE: Duration = Duration::from_millis(60);
/// The model that is always busy.
pub(super) const BUSY: &str = "always-busy";
const WORDS: [&str; 7] = ["A ", "ferry ", "carries ", "what ", "it ", "never ", "opens."];

/// The simulated provider.
pub(super) struct Simulated {
    pub(super) address: SocketAddr,
    accepted: Arc<Mutex<Vec<SecretBytes>>>,
}

impl Simulated {
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let provider = Self { address: listener.local_addr()?, accepted: Arc::default() };
        let accepted = Arc::clone(&provider.accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accepted = Arc::clone(&accepted);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(&accepted, request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(provider)
    }

    /// One that is never called.
    pub(super) fn nowhere() -> Self {
        Self { address: ([127, 0, 0, 1], 9).into(), accepted: Arc::default() }
    }

    /// From now on these are the keys.
    pub(super) fn accept_only(&self, keys: &[&str]) {
        *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) =
            keys.iter().map(|key| SecretBytes::new(key.as_bytes().to_vec())).collect();
    }
}

/// Pieces that come one after the other.
struct Paced {
    pieces: VecDeque<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
        }
        let piece = self.pieces.pop_front();
        if !self.pieces.is_empty() {
            self.pause = Some(Box::pin(tokio::time::sleep(PACE)));
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

async fn answer(
    accepted: &Mutex<Vec<SecretBytes>>,
    request: Request<Incoming>,
) -> Result<Response<Paced>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let key = presented(&parts.headers);
    let known = accepted
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .any(|known| known.ct_eq(&SecretBytes::new(key.clone())));
    let path = parts.uri.path();
    Ok(if !known {
        // Providers do this.
        let quoted = String::from_utf8_lossy(&key);
        whole(
            StatusCode::UNAUTHORIZED,
            &json!({"error": {"message": format!("Incorrect API key provided: {quoted}."), "type":
                "invalid_request_error", "param": null, "code": "invalid_api_key"}}),
        )
    } else if asked["model"] == BUSY {
        let error = json!({"error": {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded"}});
        let mut busy = whole(StatusCode::TOO_MANY_REQUESTS, &error);
        busy.headers_mut().insert("retry-after", 7.into());
        busy
    } else if path == "/v1/chat/completions" {
        if asked["stream"] == true { openai_stream() } else { whole(StatusCode::OK, &openai_answer()) }
    } else if path == "/v1/messages" {
        anthropic_stream()
    } else if path.ends_with(":generateContent") {
        whole(StatusCode::OK, &gemini_answer())
    } else {
        whole(StatusCode::OK, &json!({"object": "list", "data": [{"id": "gpt-demo", "object": "model"}]}))
    })
}

fn presented(headers: &HeaderMap) -> Vec<u8> {
    let slots = ["authorization", "x-api-key", "x-goog-api-key"];
    let value =
        slots.iter().find_map(|name| headers.get(*name)).map(|value| value.as_bytes()).unwrap_or_default();
    value.strip_prefix(b"Bearer ").unwrap_or(value).to_vec()
}

fn whole(status: StatusCode, body: &Value) -> Response<Paced> {
    let mut answer = Response::new(Paced { pieces: [Bytes::from(body.to_string())].into(), pause: None });
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    answer
}

fn stream(pieces: VecDeque<Bytes>) -> Response<Paced> {
    let mut answer = Response::new(Paced { pieces, pause: None });
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    answer
}

fn openai_answer() -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-demo",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS.concat()}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}})
}

fn openai_stream() -> Response<Paced> {
    let chunk = |delta: Value, usage: Value| {
        let choices = if usage.is_null() { json!([{"index": 0, "delta": delta}]) } else { json!([]) };
        let chunk = json!({"id": "chatcmpl-2", "object": "chat.completion.chunk", "model": "gpt-demo",
            "choices": choices, "usage": usage});
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let mut pieces: VecDeque<Bytes> =
        WORDS.iter().map(|word| chunk(json!({"content": word}), Value::Null)).collect();
    pieces.push_back(chunk(
        Value::Null,
        json!({"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}),
    ));
    pieces.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    stream(pieces)
}

fn anthropic_stream() -> Response<Paced> {
    let event = |name: &str, data: Value| Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "model": "claude-demo", "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}});
    let mut pieces: VecDeque<Bytes> = [event("message_start", start)].into();
    pieces.extend(WORDS.iter().map(|word| {
        let delta =
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}});
        event("content_block_delta", delta)
    }));
    let usage =
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}});
    pieces.push_back(event("message_delta", usage));
    pieces.push_back(event("message_stop", json!({"type": "message_stop"})));
    stream(pieces)
}

fn gemini_answer() -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": WORDS.concat()}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 7, "totalTokenCount": 16},
        "modelVersion": "gemini-demo"})
}
