//! Requests of four kinds at both gateways, on and on, and what became of each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Scene, chat, timed};
use crate::harness::Reply;

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(20);

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A gateway token's, with the tenant's own key.
    Held,
    /// The same, streamed.
    Streamed,
    /// A JWT's.
    Jwt,
    /// The platform's money.
    Paid,
}

/// One request.
pub struct Asked {
    pub kind: Kind,
    pub begun: Instant,
    pub took: Duration,
    pub reply: Reply,
}

impl Asked {
    pub fn status(&self) -> u16 {
        self.reply.status()
    }

    pub fn ended(&self) -> Instant {
        self.begun + self.took
    }
}

/// Clients that ask.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Vec<Asked>>,
}

impl Load {
    /// A client of each kind at each gateway.
    pub fn begin(scene: &Scene) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for gateway in &scene.gateways {
            for kind in [Kind::Held, Kind::Streamed, Kind::Jwt, Kind::Paid] {
                let token = token(scene, kind);
                clients.spawn(client(gateway.url(), kind, token, Arc::clone(&stop)));
            }
        }
        Self { stop, clients }
    }

    /// Everything that was asked, when all have their answers.
    pub async fn end(self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

fn token(scene: &Scene, kind: Kind) -> Box<dyn Fn() -> String + Send> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    match kind {
        Kind::Held | Kind::Streamed => {
            let token = scene.own.caller_token.clone();
            Box::new(move || token.clone())
        }
        Kind::Paid => {
            let token = scene.paid.1.clone();
            Box::new(move || token.clone())
        }
        Kind::Jwt => {
            let (issuer, tenant) = (Arc::clone(&scene.issuer), scene.own.id.clone());
            Box::new(move || issuer.token(&tenant, &format!("load-{}", NEXT.fetch_add(1, Ordering::Relaxed))))
        }
    }
}

async fn client(
    url: String,
    kind: Kind,
    token: Box<dyn Fn() -> String + Send>,
    stop: Arc<AtomicBool>,
) -> Vec<Asked> {
    let mut body = chat();
    if kind == Kind::Streamed {
        body["stream"] = json!(true);
    }
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (token, begun) = (token(), Instant::now());
        let (reply, took) = timed(&url, &token, &body).await;
        assert!(reply.whole, "{kind:?} was cut");
        all.push(Asked { kind, begun, took, reply });
        sleep(PAUSE).await;
    }
    all
}
