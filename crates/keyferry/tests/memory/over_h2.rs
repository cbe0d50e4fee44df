//! The same over HTTP/2: many requests on one connection, headers in Huffman code.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::{
    harness::connect,
    load::{Case, Stage},
    requests::ask,
};

const ROUND: [Case; 6] =
    [Case::Sync, Case::Streamed, Case::Unauthorized, Case::Cancelled, Case::RateLimited, Case::Streamed];

/// A connection that stays open until this is dropped.
pub type Client = SendRequest<Full<Bytes>>;

/// Sends requests over connections, with stored and with carried keys in turn.
pub async fn play(stage: &Arc<Stage>, requests: usize, connections: usize) -> Vec<Client> {
    let mut open = Vec::new();
    for number in 0..connections {
        let stage = Arc::clone(stage);
        open.push(tokio::spawn(async move {
            let io = TokioIo::new(connect(stage.gateway.port()).await);
            let (mut client, connection) = handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
            tokio::spawn(connection);
            for turn in 0..requests / connections {
                let case = ROUND[(number + turn) % ROUND.len()];
                one(&stage, &mut client, case, number * 31 + turn).await;
            }
            client
        }));
    }
    let mut clients = Vec::new();
    for one in open {
        clients.push(one.await.expect("a client"));
    }
    clients
}

async fn one(stage: &Stage, client: &mut Client, case: Case, number: usize) {
    let (token, provider, _) = &stage.held[number % stage.held.len()];
    let (carried_for, carried) = &stage.carried[number % stage.carried.len()];
    let held = number.is_multiple_of(2);
    // Of those without a key of their own a seventh is the platform's; a third comes on the unified surface.
    let (unified, paid) = (number % 3 == 1, held && number % 7 == 3);
    let token = if paid { &stage.paid } else { token };
    let (path, body) = ask(if held { provider } else { carried_for }, unified, case);
    let mut request = Request::post(format!("https://gateway.example{path}"))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"));
    if !held {
        request = request.header("x-byok-key", carried);
    }
    let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("a request");
    client.ready().await.expect("the connection is good");
    let answer = client.send_request(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    if case == Case::Cancelled {
        let _ = body.frame().await;
        return;
    }
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    assert_eq!(Some(status), case.status(), "{case:?} {}", String::from_utf8_lossy(&body));
}
