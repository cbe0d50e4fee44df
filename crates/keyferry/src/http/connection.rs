//! One client connection, from its first byte to its last.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    task::yield_now,
    time::timeout,
};
use zeroize::{Zeroize, Zeroizing};

use super::{
    body::BusyBody,
    dormant::Dormant,
    ingress::{FramedIo, GuardedIo, MAX_HEAD, Shared},
    route::{App, ClientAddr},
};
use crate::{
    config::Resources,
    lifecycle::{Phase, Phases},
    telemetry::metrics,
    workers::Posts,
};

/// What HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// For the first bytes of a connection to come.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// How long others of an HTTP/2 connection that is to end may keep it as it is.
const OTHERS: Duration = Duration::from_secs(10);
/// For the last answer to have arrived. Some clients take a GOAWAY that comes with an answer's end for
/// an error of the answer (python-h2).
const ARRIVING: Duration = Duration::from_millis(100);
/// For a connection on which nothing is answered any more to end.
const ENDING: Duration = Duration::from_secs(1);
/// For the client to close a connection that nothing is answered on any more.
const LEAVING: Duration = Duration::from_secs(2);

/// What a connection serves.
pub(super) struct Served {
    pub(super) app: Arc<App>,
    pub(super) serves: Resources,
    pub(super) client: ClientAddr,
    /// From which phase on no new request is taken.
    pub(super) until: Phase,
    /// The phase.
    pub(super) phases: Phases,
    /// Where requests find a worker that come beside others on a connection.
    pub(super) posts: Posts,
}

impl Served {
    /// Serves a connection to its end.
    pub(super) async fn run<T>(self, mut io: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _connected = metrics::connected();
        let (until, mut phases) = (self.until, self.phases.clone());
        let first = tokio::select! {
            first = timeout(FIRST_BYTES, first_bytes(&mut io)) => first,
            // Nothing was asked yet, so nothing is cut off.
            _ = phases.wait_for(|phase| *phase >= until) => return,
        };
        let early = match first {
            Ok(Ok(early)) if !early.is_empty() => early,
            _ => return,
        };
        if early.starts_with(PREFACE) {
            // In a box, since it takes more, which every connection would take.
            Box::pin(self.http2(io, early)).await;
        } else {
            self.http1(io, early).await;
        }
    }

    async fn http1<T>(self, io: T, early: Zeroizing<Vec<u8>>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::<Shared>::default();
        let guarded = GuardedIo::new(io, early, Arc::clone(&shared));
        let service = service_fn(|request| {
            let busy = shared.busy();
            // Now, not when the answer is worked on: the library asks in the order of the heads.
            let (extracted, more_wait) = shared.next_secrets();
            let (app, shared) = (Arc::clone(&self.app), Arc::clone(&shared));
            let (serves, client) = (self.serves, self.client);
            async move {
                // Whoever sends many at once lets others have their turn before each: one worker serves them all.
                if more_wait {
                    yield_now().await;
                }
                // One at a time: it needs no place.
                let answer = app.answer(serves, client, &shared, request, extracted, None).await;
                Ok::<_, Infallible>(answer.map(|body| BusyBody { body, _busy: busy }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(4 * MAX_HEAD)
            .half_close(false)
            .serve_connection(TokioIo::new(guarded), service);
        let connection = pin!(connection);
        drive(connection, |connection| connection.graceful_shutdown(), &shared, self.until, self.phases)
            .await;
    }

    async fn http2<T>(self, io: T, early: Zeroizing<Vec<u8>>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::<Shared>::default();
        let framed = FramedIo::new(io, early, PREFACE.len(), Arc::clone(&shared));
        let service = service_fn(|request: Request<Incoming>| {
            let busy = shared.busy();
            // Now, not when the answer is worked on: the library asks in the order of the heads.
            let extracted = shared.secrets_of(request.headers());
            let (app, shared) = (Arc::clone(&self.app), Arc::clone(&shared));
            let (serves, client) = (self.serves, self.client);
            // Also now: many may come before the first is worked on. What finds no place keeps no secret.
            let place = app.door.enter(&shared);
            let extracted = if place.is_some() { extracted } else { None };
            async move {
                let answer = match place {
                    Some(place) => app.answer(serves, client, &shared, request, extracted, Some(place)).await,
                    None => app.refuse_one_too_many(&request),
                };
                Ok::<_, Infallible>(answer.map(|body| BusyBody { body, _busy: busy }))
            }
        });
        let connection = http2::Builder::new(self.posts.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(64)
            .max_header_list_size(MAX_HEAD as u32)
            // Nothing of a header is remembered for the next request.
            .header_table_size(0)
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(64)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(framed), service);
        let connection = pin!(connection);
        drive(connection, |connection| connection.graceful_shutdown(), &shared, self.until, self.phases)
            .await;
    }
}

/// Drives a connection to its end; from a phase on, or when an answer says so, it takes no new
/// request, and with the last phase it is cut off.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    shut_down: impl FnOnce(Pin<&mut C>),
    shared: &Shared,
    until: Phase,
    mut phases: Phases,
) {
    // Neither comes more than once, while the connection is polled for each piece of everything.
    let told = Dormant::new(async {
        tokio::select! {
            _ = phases.wait_for(|phase| *phase >= until) => None,
            all = answered(shared) => Some(all),
        }
    });
    let answered = tokio::select! {
        biased;
        ended = connection.as_mut() => return log_end(ended),
        answered = told => answered,
    };
    if answered == Some(true) {
        // Without a word before: GOAWAY and the end come together, when nothing is answered. The library's own way
        // begins with a GOAWAY and a PING, on which python-h2 gives up.
        shared.leave();
        tokio::select! {
            ended = connection.as_mut() => return log_end(ended),
            _ = phases.wait_for(|phase| *phase >= until) => {}
            () = kept(shared) => {}
        }
    }
    shut_down(connection.as_mut());
    tokio::select! {
        ended = connection => log_end(ended),
        () = left(shared), if answered.is_some() => {}
        _ = phases.wait_for(|phase| *phase == Phase::Ending) => {}
    }
}

/// Waits until an answer that ends its connection has arrived. Says whether nothing else is answered beside it.
async fn answered(shared: &Shared) -> bool {
    shared.ending().await;
    let all = timeout(OTHERS, shared.idle()).await.is_ok();
    tokio::time::sleep(ARRIVING).await;
    all
}

/// Waits until a connection has had the time to end. Whoever keeps asking must not keep it by that.
async fn kept(shared: &Shared) {
    let _ = timeout(OTHERS, shared.idle()).await;
    tokio::time::sleep(ENDING).await;
}

/// Waits until a client that was told to leave has had the time for it.
async fn left(shared: &Shared) {
    shared.idle().await;
    tokio::time::sleep(LEAVING).await;
}

/// How a connection ended interests only whoever looks closely; the error's text is the library's
/// and holds no bytes of the request.
fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(event = "connection_ended", %error);
    }
}

/// Reads until it is clear which version is spoken.
async fn first_bytes<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut early = Zeroizing::new(Vec::with_capacity(1024));
    let mut space = [0; 1024];
    loop {
        let read = io.read(&mut space).await?;
        early.extend_from_slice(&space[..read]);
        space[..read].zeroize();
        let undecided = early.len() < PREFACE.len() && PREFACE.starts_with(&early);
        if read == 0 || !undecided {
            return Ok(early);
        }
    }
}
