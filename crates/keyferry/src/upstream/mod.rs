//! The one way out: every byte that leaves for a provider goes through this client.
//!
//! ```text
//! Call ─► pool, or dial ─► placeholder in the auth header ─► hyper ─► Injector (the key goes in) ─► TLS
//! ```
//!
//! It follows no redirect, reads no proxy setting, keeps no cookie and speaks to no host that is
//! not in the configuration.

mod answer;
mod body;
mod dial;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inject;
mod line;
mod pool;
mod resolve;
mod stream;
mod tls;

use std::{path::Path, sync::Arc, time::Duration};

pub use answer::UpstreamBody;
pub use body::{ForwardBody, UploadError};
pub use error::UpstreamError;
use http::{HeaderMap, HeaderName, Method, Request, Response, Uri, header};
use hyper::body::Incoming;
use keyferry_core::{net::host::ProviderHost, provider::AuthSlot};
use keyferry_envelope::{ApiKey, Entropy};
use pool::Pool;
pub use pool::{Lane, Purpose};
pub use tls::TrustError;
use tokio::time::{Instant, timeout, timeout_at};

use self::{
    dial::Dialer,
    inject::Armed,
    line::{Line, Unanswered},
};
use crate::{config, telemetry::metrics};

/// A connection from the pool that is not ready by then is still busy with what it did before.
const AT_ONCE: Duration = Duration::from_millis(100);

/// One request to a provider.
pub struct Call {
    /// To which host, and whose connection it may use.
    pub lane: Lane,
    /// The method, from the operation table.
    pub method: Method,
    /// Path and query, from the operation table and the allowlists.
    pub path: String,
    /// Headers that passed the allowlist.
    pub headers: HeaderMap,
    /// What it carries.
    pub body: ForwardBody,
    /// When the whole exchange must be over.
    pub deadline: Instant,
    /// The key, and where it goes.
    pub key: Option<(AuthSlot, Arc<ApiKey>)>,
}

impl Call {
    /// The same once more, without a key; `None` if what it carries can be sent only once.
    pub fn again(&self) -> Option<Self> {
        let body = match &self.body {
            ForwardBody::Empty => ForwardBody::Empty,
            ForwardBody::Full(bytes) => ForwardBody::Full(bytes.clone()),
            ForwardBody::Upload { .. } => return None,
        };
        Some(Self {
            lane: self.lane.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            body,
            deadline: self.deadline,
            key: None,
        })
    }
}

/// The client.
pub struct UpstreamClient {
    dialer: Dialer,
    pool: Pool,
    entropy: Arc<dyn Entropy>,
    /// The limits it keeps.
    pub limits: config::Upstream,
}

/// A `dial` setting as a warning at start.
pub fn plaintext_hosts(upstream: &config::Upstream) -> impl Iterator<Item = &ProviderHost> {
    upstream.dial.iter().filter(|dial| dial.plaintext).map(|dial| &dial.host)
}

impl UpstreamClient {
    /// Makes the client. There is one.
    pub fn new(limits: config::Upstream, entropy: Arc<dyn Entropy>) -> Result<Arc<Self>, TrustError> {
        let tls = tls::Tls::new(limits.extra_ca.as_deref().map(Path::new))?;
        Ok(Arc::new(Self { dialer: Dialer::new(&limits, tls), pool: Pool::default(), entropy, limits }))
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
    /// request is repeated on a fresh one only when the library says that none of it was sent.
    pub async fn send(self: &Arc<Self>, call: Call) -> Result<Response<UpstreamBody>, UpstreamError> {
        let deadline = call.deadline.min(Instant::now() + self.limits.first_byte_timeout);
        let Call { lane, method, path, headers, body, key, deadline: _ } = call;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(path).map_err(|_| UpstreamError::Injection)?;
        *request.headers_mut() = headers;
        let authority = lane.host.as_str().parse().map_err(|_| UpstreamError::Injection)?;
        request.headers_mut().insert(header::HOST, authority);

        while let Some(mut line) = self.pool.take(&lane) {
            if timeout(AT_ONCE, line.ready()).await != Ok(true) {
                continue;
            }
            metrics::upstream_connection(lane.purpose.name(), "reused");
            match self.exchange(&mut line, &mut request, key.as_ref(), deadline).await {
                Ok(answer) => return Ok(self.answer(answer, lane, line)),
                Err(Failure::NotSent(unsent)) => request = *unsent,
                Err(Failure::Sent(error)) => return Err(error),
            }
        }
        let opened = timeout_at(deadline, self.open(&lane)).await;
        let mut line = opened.unwrap_or(Err(UpstreamError::Timeout("connecting")))?;
        match self.exchange(&mut line, &mut request, key.as_ref(), deadline).await {
            Ok(answer) => Ok(self.answer(answer, lane, line)),
            Err(Failure::NotSent(_)) => {
                Err(UpstreamError::Connect(std::io::ErrorKind::ConnectionReset.into()))
            }
            Err(Failure::Sent(error)) => Err(error),
        }
    }

    async fn open(&self, lane: &Lane) -> Result<Line, UpstreamError> {
        let stream = self.dialer.dial(&lane.host).await.inspect_err(|error| {
            if matches!(error, UpstreamError::AddressRefused(_)) {
                metrics::egress_denied(lane.purpose.name());
            }
        })?;
        metrics::upstream_connection(lane.purpose.name(), "opened");
        Line::open(stream).await
    }

    async fn exchange(
        &self,
        line: &mut Line,
        request: &mut Request<ForwardBody>,
        key: Option<&(AuthSlot, Arc<ApiKey>)>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = std::mem::replace(request, Request::new(ForwardBody::Empty));
        if let Some((slot, key)) = key {
            let armed = Armed::new(*slot, Arc::clone(key), &*self.entropy);
            let mut value = armed.header_value();
            value.set_sensitive(true);
            request.headers_mut().insert(HeaderName::from_static(slot.header()), value);
            line.arm(armed);
        }
        match timeout_at(deadline, line.send(request)).await {
            Err(_) => Err(Failure::Sent(UpstreamError::Timeout("waiting for the answer to begin"))),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Unanswered::NotSent(unsent))) => Err(Failure::NotSent(unsent)),
            Ok(Err(Unanswered::Sent(error))) => Err(Failure::Sent(error.into())),
        }
    }

    fn answer(
        self: &Arc<Self>,
        answer: Response<Incoming>,
        lane: Lane,
        line: Line,
    ) -> Response<UpstreamBody> {
        let error = answer.status().as_u16() >= 400;
        answer.map(|incoming| UpstreamBody::new(incoming, error, lane, line, Arc::clone(self)))
    }
}

enum Failure {
    /// None of it left; here it is back.
    NotSent(Box<Request<ForwardBody>>),
    /// Some of it may have left.
    Sent(UpstreamError),
}
