//! Connections: look who it is, read one request, answer it, end.

use std::{io, sync::Arc, time::Duration};

use keyferry_core::id::TenantId;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use super::{
    control::Control,
    frame::{self, FrameError},
    request::{self, Refusal},
};
use crate::socket::{
    Place,
    policy::{Peer, Policy},
};

/// Connections at once; more wait in the kernel's queue.
pub const MAX_CONNECTIONS: u32 = 64;
/// For requests under way to end.
const GRACE: Duration = Duration::from_secs(20);

/// The client must not take what was done for undone, and ask again.
const TOO_LONG: &str = "The gateway has done it, but its answer is too long to be passed on.";

/// What every connection needs.
pub struct Desk {
    /// Who may connect.
    pub policy: Policy,
    /// The only tenant that is served, if there is only one.
    pub only: Option<TenantId>,
    /// The gateway.
    pub control: Control,
}

/// Serves until `stop`, then removes the socket and lets requests under way end.
pub async fn serve(listener: UnixListener, place: Place, desk: Arc<Desk>, stop: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    tokio::pin!(stop);
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            io::Result::Ok((permit, listener.accept().await?.0))
        };
        let next = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        match next {
            Ok((permit, stream)) => {
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    desk.attend(stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(event = "accept_failed", %error);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    drop((listener, place));
    if timeout(GRACE, room.acquire_many(MAX_CONNECTIONS)).await.is_err() {
        tracing::warn!(event = "connections_cut", "some requests did not end within the grace time");
    }
}

impl Desk {
    async fn attend(&self, mut stream: UnixStream) {
        let Ok(credentials) = stream.peer_cred() else { return };
        let peer = Peer { uid: credentials.uid(), gid: credentials.gid() };
        let admitted = self.policy.admits(peer);
        let answer = if admitted {
            self.answer(&mut stream, peer).await
        } else {
            // Not a byte of it is read.
            tracing::warn!(event = "peer_refused", uid = peer.uid, gid = peer.gid, pid = credentials.pid());
            Refusal::new("forbidden", "This user may not use this socket.").to_json()
        };
        let written = frame::write(&mut stream, answer.to_string().as_bytes()).await;
        if admitted && written.is_ok() && stream.shutdown().await.is_ok() {
            frame::drain(&mut stream).await;
        }
    }

    async fn answer(&self, stream: &mut UnixStream, peer: Peer) -> Value {
        let frame = match frame::read(stream).await {
            Ok(frame) => frame,
            Err(error) => {
                tracing::info!(event = "frame_refused", uid = peer.uid, %error);
                let code = if error == FrameError::TooLong { "request_too_large" } else { "invalid_request" };
                return Refusal::new(code, error.to_string()).to_json();
            }
        };
        let asked = request::parse(frame.expose(), self.only.as_ref());
        drop(frame);
        let asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => {
                tracing::info!(event = "sidecar_denied", uid = peer.uid, code = refusal.code);
                return refusal.to_json();
            }
        };
        let (op, tenant) = (asked.op.name(), asked.tenant.clone());
        match self.control.run(asked).await {
            Ok(mut answer) => {
                tracing::info!(event = "sidecar_served", uid = peer.uid, op, %tenant);
                answer.insert("ok".to_owned(), json!(true));
                let answer = Value::Object(answer);
                if answer.to_string().len() > frame::MAX {
                    return Refusal::new("BYOK_SERVICE_UNAVAILABLE", TOO_LONG).to_json();
                }
                answer
            }
            Err(refusal) => {
                tracing::info!(event = "sidecar_denied", uid = peer.uid, op, %tenant, code = refusal.code);
                refusal.to_json()
            }
        }
    }
}
