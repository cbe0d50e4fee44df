//! Clients that go on asking whatever happens to the gateways, and remember what they were told.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{net::TcpStream, time::sleep};

use super::{Random, input_tokens, output_tokens};
use crate::harness::{Connection, Piece, Seen};

/// Who pays for a request, and with which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payer {
    Platform,
    /// The tenant, with a key that is stored.
    Held,
    /// The tenant, with a key that comes along.
    Carried,
}

/// How a request is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Whole,
    Streamed,
    /// A stream that the client leaves after its first piece.
    Left,
}

/// A request that somebody was told something about.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub number: u64,
    pub tenant: usize,
    pub payer: Payer,
    pub way: Way,
    pub request_id: String,
    pub status: u16,
    /// Its last byte arrived.
    pub whole: bool,
    /// The gateway that was asked, by its port: each life has another one.
    pub port: u16,
    pub body: String,
}

/// A tenant that clients ask for.
pub(super) struct Asker {
    pub token: String,
    /// Has no key of its own.
    pub paid: bool,
}

/// What all clients share.
pub(super) struct Traffic {
    pub ports: Vec<AtomicU16>,
    pub tenants: Vec<Asker>,
    pub carried: String,
    next: AtomicU64,
    over: AtomicBool,
    asked: Mutex<Vec<Asked>>,
}

impl Traffic {
    pub(super) fn new(ports: Vec<u16>, tenants: Vec<Asker>, carried: String) -> Arc<Self> {
        Arc::new(Self {
            ports: ports.into_iter().map(AtomicU16::new).collect(),
            tenants,
            carried,
            next: AtomicU64::new(0),
            over: AtomicBool::new(false),
            asked: Mutex::default(),
        })
    }

    /// No more requests are begun.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// How many requests were begun.
    pub(super) fn begun(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Everything that was told so far.
    pub(super) fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().expect("not poisoned")
    }

    /// One client: asks until it is over.
    pub(super) async fn client(self: Arc<Self>, mut random: Random) {
        while !self.is_over() {
            let at = random.below(self.ports.len() as u64) as usize;
            let port = self.ports[at].load(Ordering::SeqCst);
            let Some(connection) = try_open(port).await else {
                sleep(Duration::from_millis(5)).await;
                continue;
            };
            let tenant = random.below(self.tenants.len() as u64) as usize;
            let payer = match (random.below(4), self.tenants[tenant].paid) {
                (0, _) => Payer::Carried,
                (_, true) => Payer::Platform,
                (_, false) => Payer::Held,
            };
            let way =
                [Way::Whole, Way::Whole, Way::Streamed, Way::Streamed, Way::Left][random.below(5) as usize];
            let unified = random.below(2) == 0;
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let asked = Asked {
                number,
                tenant,
                payer,
                way,
                request_id: String::new(),
                status: 0,
                whole: false,
                port,
                body: String::new(),
            };
            if let Some(asked) = self.ask(connection, asked, unified).await {
                self.asked().push(asked);
            }
        }
    }

    /// Asks once. Nothing, if not even a head came back.
    async fn ask(&self, mut connection: Connection, asked: Asked, unified: bool) -> Option<Asked> {
        let (path, model) =
            if unified { ("/v1/chat/completions", "openai/m") } else { ("/openai/v1/chat/completions", "m") };
        let bearer = format!("Bearer {}", self.tenants[asked.tenant].token);
        let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        if asked.payer == Payer::Carried {
            headers.push(("x-byok-key", &self.carried));
        }
        let text = format!("number {}", asked.number);
        let mut body =
            json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}]});
        if asked.way != Way::Whole {
            body["stream"] = json!(true);
            // Where the platform pays, the gateway asks for it.
            if asked.payer != Payer::Platform {
                body["stream_options"] = json!({"include_usage": true});
            }
        }
        connection.request("POST", path, &headers, body.to_string().as_bytes()).await;
        let head = connection.try_head().await?;
        let request_id = head.header("x-keyferry-request-id").to_owned();
        let (body, whole) = if asked.way == Way::Left && head.status == 200 {
            (Vec::new(), connection.chunk().await == Piece::End)
        } else {
            connection.body(&head).await
        };
        let body = String::from_utf8_lossy(&body).into_owned();
        Some(Asked { request_id, status: head.status, whole, body, ..asked })
    }
}

/// A connection, if somebody listens.
#[expect(clippy::disallowed_methods, reason = "a test talks to the gateway under test")]
async fn try_open(port: u16) -> Option<Connection> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(Connection::over(stream))
}

/// The number of a request, from its text.
pub(super) fn number_of(seen: &Seen) -> u64 {
    let body = seen.json();
    let text = body["messages"][0]["content"].as_str().expect("a text");
    text.strip_prefix("number ").and_then(|number| number.parse().ok()).expect("a number")
}

/// What the provider says of a request.
pub(super) fn usage(number: u64) -> Value {
    let (input, output) = (input_tokens(number), output_tokens(number));
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}
