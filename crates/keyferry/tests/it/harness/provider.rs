//! A provider that does what a script says: HTTP/1.1 by hand, so that it can stall, cut and lie.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use super::until;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which connection, counted from 0.
    pub connection: usize,
    /// The head, byte for byte, with the empty line.
    pub head: Vec<u8>,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// A header's value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Something a script waits at until the test opens it.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<usize>>);

impl Gate {
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(0).0))
    }

    /// Lets the next one through: the first call opens the way for steps that wait for 1, and so on.
    pub fn open(&self) {
        self.0.send_modify(|opened| *opened += 1);
    }

    async fn passed(&self, number: usize) {
        let mut opened = self.0.subscribe();
        let _ = opened.wait_for(|opened| *opened >= number).await;
    }
}

#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    Gate(Gate, usize),
    Hang,
    Reset,
    Close,
}

/// What is answered, step by step. Without a last word the connection stays open.
#[derive(Clone)]
pub struct Answer(Vec<Step>);

impl Answer {
    /// Bytes as they are.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self(vec![Step::Send(bytes.as_ref().to_vec())])
    }

    /// A status, headers, and a body of the right length.
    pub fn with(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status} Status\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        Self::raw(bytes)
    }

    /// JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::with(status, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// The head of a chunked event stream; pieces follow with [`Answer::chunk`].
    pub fn events() -> Self {
        Self::raw(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
        )
    }

    /// A whole event stream.
    pub fn sse(events: &[&str]) -> Self {
        events.iter().fold(Self::events(), |answer, event| answer.chunk(event)).end()
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::with(status, &[("location", location)], b"")
    }

    /// Nothing, for ever.
    pub fn hang() -> Self {
        Self(vec![Step::Hang])
    }

    /// A reset at once.
    pub fn reset() -> Self {
        Self(vec![Step::Reset])
    }

    /// The connection is closed without a word.
    pub fn nothing() -> Self {
        Self(vec![Step::Close])
    }

    fn and(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    /// Then these bytes.
    pub fn then(self, bytes: impl AsRef<[u8]>) -> Self {
        self.and(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Then a chunk of a chunked body.
    pub fn chunk(self, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        self.then([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat())
    }

    /// Then the end of a chunked body.
    pub fn end(self) -> Self {
        self.then("0\r\n\r\n")
    }

    /// Then all of another answer.
    pub fn then_answer(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Then a pause.
    pub fn pause(self, time: Duration) -> Self {
        self.and(Step::Pause(time))
    }

    /// Then a wait until the gate was opened `number` times.
    pub fn gate(self, gate: &Gate, number: usize) -> Self {
        self.and(Step::Gate(gate.clone(), number))
    }

    /// Then nothing, for ever.
    pub fn then_hang(self) -> Self {
        self.and(Step::Hang)
    }

    /// Then a reset.
    pub fn then_reset(self) -> Self {
        self.and(Step::Reset)
    }

    /// Then the connection is closed.
    pub fn then_close(self) -> Self {
        self.and(Step::Close)
    }

    /// A small answer that is right for what was asked, in each dialect.
    pub fn right(seen: &Seen) -> Self {
        let streamed = seen.json()["stream"] == true || seen.target.contains(":streamGenerateContent");
        let path = seen.target.split('?').next().unwrap_or_default();
        if path.starts_with("/v1/messages") {
            if streamed { Self::sse(&ANTHROPIC_STREAM) } else { Self::json(200, &anthropic_message()) }
        } else if path.contains(":streamGenerateContent") || path.contains(":generateContent") {
            if streamed { Self::sse(&GEMINI_STREAM) } else { Self::json(200, &gemini_content()) }
        } else if path.ends_with("/models") {
            Self::json(200, &json!({"object": "list", "data": [], "models": []}))
        } else if streamed {
            Self::sse(&OPENAI_STREAM)
        } else {
            Self::json(200, &openai_completion())
        }
    }
}

/// A completion of OpenAI: 11 tokens in, 7 out.
pub fn openai_completion() -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4.1-mini-2025-04-14",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 4}}})
}

fn anthropic_message() -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 11, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 7}})
}

fn gemini_content() -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 11, "cachedContentTokenCount": 4, "candidatesTokenCount": 7, "totalTokenCount": 18},
        "modelVersion": "gemini-2.5-flash"})
}

/// A stream of OpenAI with usage.
pub const OPENAI_STREAM: [&str; 4] = [
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4.1-mini\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hel\"}}]}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4.1-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4.1-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18}}\n\n",
    "data: [DONE]\n\n",
];

/// A stream of Anthropic.
pub const ANTHROPIC_STREAM: [&str; 6] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-haiku-4-5\",\"content\":[],\"usage\":{\"input_tokens\":11,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

/// A stream of Gemini.
pub const GEMINI_STREAM: [&str; 2] = [
    "data: {\"candidates\": [{\"content\": {\"role\": \"model\",\"parts\": [{\"text\": \"hel\"}]}}],\"modelVersion\": \"gemini-2.5-flash\"}\r\n\r\n",
    "data: {\"candidates\": [{\"content\": {\"role\": \"model\",\"parts\": [{\"text\": \"lo\"}]},\"finishReason\": \"STOP\"}],\"usageMetadata\": {\"promptTokenCount\": 11,\"candidatesTokenCount\": 7,\"totalTokenCount\": 18},\"modelVersion\": \"gemini-2.5-flash\"}\r\n\r\n",
];

type Script = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// The provider.
pub struct Provider {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    /// Connections that were accepted, and those of them that the other side closed.
    connections: Mutex<(usize, Vec<usize>)>,
}

impl Provider {
    /// Answers every request with what the script makes of it.
    pub async fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(script)).await
    }

    /// The same behind TLS.
    pub async fn start_tls(
        config: Arc<ServerConfig>,
        script: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(TlsAcceptor::from(config)), Arc::new(script)).await
    }

    /// Answers each request with the next of these; the last one stays.
    pub async fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers: Mutex<Vec<Answer>> = Mutex::new(answers.into_iter().collect());
        Self::start(move |_| {
            let mut left = answers.lock().expect("not poisoned");
            if left.len() > 1 { left.remove(0) } else { left[0].clone() }
        })
        .await
    }

    /// Answers everything with something small and right.
    pub async fn right() -> Self {
        Self::start(Answer::right).await
    }

    async fn listen(tls: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let mine = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut connections = lock(&mine.connections);
                    connections.0 += 1;
                    connections.0 - 1
                };
                let _ = stream.set_nodelay(true);
                let (shared, script, tls) = (Arc::clone(&mine), Arc::clone(&script), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, |stream| stream, number, &shared, &script).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            converse(stream, |stream| stream.get_ref().0, number, &shared, &script).await;
                        }
                    }
                });
            }
        });
        Self { address, shared, accepting }
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        lock(&self.shared.seen).len()
    }

    /// The last request.
    #[track_caller]
    pub fn last(&self) -> Seen {
        lock(&self.shared.seen).last().cloned().expect("the provider was asked")
    }

    /// How many connections came so far.
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).0
    }

    /// Waits for the `number`th request (counted from 1).
    pub async fn request(&self, number: usize) -> Seen {
        until("a request at the provider", || async { self.seen().get(number - 1).cloned() }).await
    }

    /// Waits until the gateway has closed this connection.
    pub async fn closed(&self, connection: usize) {
        let closed = || async { lock(&self.shared.connections).1.contains(&connection).then_some(()) };
        until("the connection to the provider is closed", closed).await;
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("not poisoned")
}

/// Serves one connection until either side ends it.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    tcp: impl Fn(&S) -> &TcpStream,
    number: usize,
    shared: &Shared,
    script: &Script,
) {
    let mut read = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut read, number).await {
        let answer = script(&seen);
        lock(&shared.seen).push(seen);
        for step in answer.0 {
            match step {
                Step::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                        lock(&shared.connections).1.push(number);
                        return;
                    }
                }
                Step::Close => {
                    let _ = stream.shutdown().await;
                    return;
                }
                Step::Reset => {
                    let _ = tcp(&stream).set_zero_linger();
                    return;
                }
                Step::Pause(time) => {
                    if gone(&mut stream, &mut read, sleep(time)).await {
                        lock(&shared.connections).1.push(number);
                        return;
                    }
                }
                Step::Gate(gate, opened) => {
                    if gone(&mut stream, &mut read, gate.passed(opened)).await {
                        lock(&shared.connections).1.push(number);
                        return;
                    }
                }
                Step::Hang => {
                    gone(&mut stream, &mut read, std::future::pending()).await;
                    lock(&shared.connections).1.push(number);
                    return;
                }
            }
        }
    }
    lock(&shared.connections).1.push(number);
}

/// Waits; answers whether the other side hung up meanwhile.
async fn gone<S: AsyncRead + Unpin>(
    stream: &mut S,
    read: &mut Vec<u8>,
    wait: impl Future<Output = ()>,
) -> bool {
    tokio::pin!(wait);
    let mut bytes = [0; 4096];
    loop {
        tokio::select! {
            biased;
            () = &mut wait => return false,
            came = stream.read(&mut bytes) => match came {
                Ok(0) | Err(_) => return true,
                Ok(length) => read.extend_from_slice(&bytes[..length]),
            },
        }
    }
}

async fn more<S: AsyncRead + Unpin>(stream: &mut S, read: &mut Vec<u8>) -> Option<()> {
    let mut bytes = vec![0; 16 * 1024];
    let length = stream.read(&mut bytes).await.ok().filter(|&length| length > 0)?;
    read.extend_from_slice(&bytes[..length]);
    Some(())
}

async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    read: &mut Vec<u8>,
    connection: usize,
) -> Option<Seen> {
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, read).await?;
    };
    let head: Vec<u8> = read.drain(..end).collect();
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut seen = Seen { connection, head, method, target, headers, body: Vec::new() };
    if seen.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        loop {
            let size = loop {
                if let Some(at) = read.windows(2).position(|two| two == b"\r\n") {
                    let line: Vec<u8> = read.drain(..at + 2).take(at).collect();
                    break usize::from_str_radix(std::str::from_utf8(&line).ok()?, 16).ok()?;
                }
                more(stream, read).await?;
            };
            while read.len() < size + 2 {
                more(stream, read).await?;
            }
            seen.body.extend(read.drain(..size + 2).take(size));
            if size == 0 {
                break;
            }
        }
    } else {
        let length = seen.header("content-length").parse().unwrap_or(0);
        while read.len() < length {
            more(stream, read).await?;
        }
        seen.body = read.drain(..length).collect();
    }
    Some(seen)
}
