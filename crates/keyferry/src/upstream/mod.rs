//! The one way out: every byte that leaves for a provider goes through this client.
//!
//! ```text
//! Call ─► pool, or dial ─► Line ─► Outgoing (the key goes in) ─► TLS ─► … ─► HeadReader ─► Framing ─► UpstreamBody
//! ```
//!
//! It follows no redirect, reads no proxy setting, keeps no cookie and speaks to no host that is
//! not in the configuration.

mod answer;
mod answer_head;
mod body;
mod chunks;
mod dial;
mod error;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod line;
mod outgoing;
mod pool;
mod request;
mod resolve;
mod stream;
mod tls;

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use answer::UpstreamBody;
pub use body::{ForwardBody, UploadError};
pub use error::UpstreamError;
use http::{Method, Response};
use keyferry_core::{net::host::ProviderHost, provider::AuthSlot};
use keyferry_envelope::ApiKey;
use pool::Pool;
pub use pool::{Lane, Purpose};
pub use request::{BadPath, RequestHead};
pub use tls::TrustError;
use tokio::{
    task::yield_now,
    time::{Instant, timeout_at},
};

use self::{
    dial::Dialer,
    line::{Line, Unanswered},
};
use crate::{config, telemetry::metrics, workers::number_of_this_thread};

/// One request to a provider.
pub struct Call {
    /// To which host, and whose connection it may use.
    pub lane: Lane,
    /// The method, from the operation table.
    pub method: Method,
    /// Path, query and headers, from the operation table and the allowlists.
    pub head: RequestHead,
    /// What it carries.
    pub body: ForwardBody,
    /// When the whole exchange must be over.
    pub deadline: Instant,
    /// The key, and where it goes.
    pub key: Option<(AuthSlot, Arc<ApiKey>)>,
}

impl Call {
    /// Whether it can be sent again: what is read from a client while it is sent cannot.
    pub fn is_kept(&self) -> bool {
        !matches!(self.body, ForwardBody::Upload { .. })
    }
}

/// The client.
pub struct UpstreamClient {
    dialer: Dialer,
    pool: Pool,
    /// How many requests are not answered yet, of each worker and of all other threads together.
    sending: Box<[AtomicUsize]>,
    /// The limits it keeps.
    pub limits: config::Upstream,
}

/// A `dial` setting as a warning at start.
pub fn plaintext_hosts(upstream: &config::Upstream) -> impl Iterator<Item = &ProviderHost> {
    upstream.dial.iter().filter(|dial| dial.plaintext).map(|dial| &dial.host)
}

impl UpstreamClient {
    /// Makes the client. There is one, for so many workers.
    pub fn new(limits: config::Upstream, workers: NonZeroUsize) -> Result<Arc<Self>, TrustError> {
        let threads = workers.get() + 1;
        let tls = tls::Tls::new(limits.extra_ca.as_deref().map(Path::new))?;
        Ok(Arc::new(Self {
            dialer: Dialer::new(&limits, tls),
            pool: Pool::new(threads),
            sending: (0..threads).map(|_| AtomicUsize::new(0)).collect(),
            limits,
        }))
    }

    /// Closes idle connections from time to time, for ever.
    pub async fn sweep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(Duration::from_secs(10));
        loop {
            tick.tick().await;
            self.pool.sweep();
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// A connection from the pool may have been closed by the provider in the same moment. The
    /// request is repeated on another one only when none of it was sent.
    pub async fn send(self: &Arc<Self>, call: &mut Call) -> Result<Response<UpstreamBody>, UpstreamError> {
        let _sending = self.after_others().await;
        let deadline = call.deadline.min(Instant::now() + self.limits.first_byte_timeout);
        while let Some(mut line) = self.pool.take(&call.lane) {
            metrics::upstream_connection(call.lane.purpose.name(), "reused");
            match exchange(&mut line, call, deadline).await {
                Ok(answer) => return Ok(self.answer(answer, call.lane.clone(), line)),
                Err(Unanswered::NotSent) => {}
                Err(Unanswered::Sent(error)) => return Err(error),
            }
        }
        let opened = timeout_at(deadline, Box::pin(self.open(&call.lane))).await;
        let mut line = opened.unwrap_or(Err(UpstreamError::Timeout("connecting")))?;
        match exchange(&mut line, call, deadline).await {
            Ok(answer) => Ok(self.answer(answer, call.lane.clone(), line)),
            Err(Unanswered::NotSent) => {
                Err(UpstreamError::Connect(std::io::ErrorKind::ConnectionReset.into()))
            }
            Err(Unanswered::Sent(error)) => Err(error),
        }
    }

    /// Lets others of this thread come this far who are ready, so that one sends right behind the other: what finds its receiver asleep
    /// wakes it, and to be woken for each costs more than what is sent. Whoever is alone waits for nobody.
    async fn after_others(&self) -> Sending<'_> {
        let of_thread = &self.sending[number_of_this_thread() % self.sending.len()];
        let others = of_thread.fetch_add(1, Ordering::Relaxed);
        let sending = Sending(of_thread);
        if others > 0 {
            yield_now().await;
        }
        sending
    }

    async fn open(&self, lane: &Lane) -> Result<Line, UpstreamError> {
        let stream = self.dialer.dial(&lane.host).await.inspect_err(|error| {
            if matches!(error, UpstreamError::AddressRefused(_)) {
                metrics::egress_denied(lane.purpose.name());
            }
        })?;
        metrics::upstream_connection(lane.purpose.name(), "opened");
        Ok(Line::new(stream))
    }

    fn answer(self: &Arc<Self>, answer: Response<()>, lane: Lane, line: Line) -> Response<UpstreamBody> {
        let error = answer_head::quotes(answer.status());
        answer.map(|()| UpstreamBody::new(error, lane, line, Arc::clone(self)))
    }
}

/// A request that is not answered yet.
struct Sending<'c>(&'c AtomicUsize);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends a request on a connection, and waits until then for the head of its answer.
async fn exchange(line: &mut Line, call: &mut Call, until: Instant) -> Result<Response<()>, Unanswered> {
    let answered = line.send(&call.method, &call.head, call.key.as_ref(), &mut call.body);
    let late = |_| Err(Unanswered::Sent(UpstreamError::Timeout("waiting for the answer to begin")));
    timeout_at(until, answered).await.unwrap_or_else(late)
}
