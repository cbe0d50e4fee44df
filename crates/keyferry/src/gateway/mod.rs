//! The data plane: one way through, each step handing its proof to the next.
//!
//! ```text
//! Clean request ─► slots ⇒ Offered ─► authenticate ⇒ Caller ─► open ⇒ Presented ─► admit ⇒ Admission
//!   ─► unseal ⇒ ApiKey ─► forward ⇒ provider's answer ─► relay ⇒ Relay + Settlement
//! ```
//!
//! Nothing points back up: `relay` never sees a key, `forward` never sees the store, and a
//! [`Settlement`] writes exactly one row however the request ends.

mod admit;
mod asked_usage;
mod authenticate;
mod body;
mod bring;
mod candidates;
mod circuits;
mod entitled;
mod fallback;
mod flights;
mod forward;
#[cfg(fuzzing)]
pub mod fuzzing;
mod heads;
mod holds;
#[cfg(test)]
mod jose_tests;
mod jwk;
mod jwks;
mod jws;
mod jwt;
mod keytest;
mod limits;
mod once;
mod path;
mod payment;
mod pieces;
mod provider_error;
mod queue;
mod record;
mod relay;
mod roca;
mod room;
mod session;
mod settle;
mod slots;
mod sse;
mod stalls;
mod unified;
mod views;

use std::{sync::Arc, time::Instant};

pub use holds::Holds;
use http::{HeaderMap, HeaderValue, Method, Response, request};
use http_body::Body as _;
pub use jwk::KeySet;
use keyferry_core::{
    admission::{KeyChoice, Policy},
    clock::Clock,
    code::Code,
    dialect::Dialect,
    id::RequestId,
    model::Catalogue,
    port::{counter::Counters, store::Store},
    provider::{Provider, Providers},
    record::Outcome,
    time::Timestamp,
    unified::endpoint,
};
use keyferry_envelope::{ApiKey, SecretBytes};
pub use keytest::{KeyTest, TestedKey};
pub use payment::Payments;
pub use pieces::Pieces;
pub use queue::AwaitedBody;
pub use record::Recorder;
pub use relay::Relay;

use self::{
    admit::Admitted, authenticate::Authenticator, candidates::Candidates, circuits::Circuits,
    entitled::Entitlements, payment::Spare, record::Permit, settle::Settlement, slots::Presented,
    views::Views,
};
use crate::{
    custody::{UnsealError, Unsealer, Unsealing, provider_key},
    http::{AnswerBody, Clean, Form, Problem, SecretHeaders},
    telemetry::metrics,
    upstream::UpstreamClient,
};

/// What the data plane needs.
pub struct Gateway {
    clock: Arc<dyn Clock>,
    policy: Policy,
    providers: Arc<Providers>,
    /// The same providers, where they speak the dialect of the unified surface.
    endpoints: Providers,
    entitlements: Entitlements,
    counters: Arc<dyn Counters>,
    views: Arc<Views>,
    authenticator: Authenticator,
    unsealer: Unsealer,
    unsealing: Option<Unsealing>,
    upstream: Arc<UpstreamClient>,
    recorder: Recorder,
    payments: Payments,
    holds: Holds,
    circuits: Circuits,
    bodies: room::Room,
    awaited: queue::Bodies,
    stalls: stalls::Stalls,
}

/// The parts a gateway is made of.
#[expect(missing_docs, reason = "each is what its type says")]
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub policy: Policy,
    pub providers: Arc<Providers>,
    pub catalogue: Arc<Catalogue>,
    pub store: Arc<dyn Store>,
    pub counters: Arc<dyn Counters>,
    pub unsealer: Unsealer,
    /// `None` where sealed keys are not accepted.
    pub unsealing: Option<Unsealing>,
    pub upstream: Arc<UpstreamClient>,
    pub recorder: Recorder,
    pub payments: Payments,
    pub holds: Holds,
}

/// One request on its way.
struct Passage<'a> {
    id: &'a RequestId,
    provider: &'a Provider,
    operation: &'static keyferry_core::operation::Operation,
    started: Instant,
    /// Of a client that may ask again.
    idempotency_keys: Vec<HeaderValue>,
}

/// What goes to the provider.
struct Outbound<'a> {
    target: path::Target<'a>,
    method: Method,
    /// The client's. What goes on of them is decided when the head is written.
    headers: HeaderMap,
    body: body::ReadBody,
}

impl<'a> Outbound<'a> {
    fn new(target: path::Target<'a>, parts: request::Parts, body: body::ReadBody) -> Self {
        Self { target, headers: parts.headers, method: parts.method, body }
    }
}

/// The account of a request that was admitted, with which key it is served, and what else may serve it.
struct Opened {
    settlement: Settlement,
    choice: KeyChoice,
    spare: Option<Box<Spare>>,
}

impl Opened {
    fn new(
        passage: &Passage<'_>,
        admitted: Admitted,
        model: Option<String>,
        body: &body::ReadBody,
        now: Timestamp,
        permit: Permit,
    ) -> Self {
        let mut admitted = admitted;
        let (choice, spare) = (admitted.admission.key.clone(), admitted.spare.take());
        Self { settlement: Settlement::new(passage, admitted, model, body, now, permit), choice, spare }
    }
}

impl Gateway {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let jwks = jwks::KeySets::new(Arc::clone(&parts.upstream));
        let circuits = Circuits::new(&parts.providers, Arc::clone(&parts.clock));
        Arc::new(Self {
            views: Arc::new(Views::new(parts.store, Arc::clone(&parts.counters))),
            authenticator: Authenticator::new(Arc::clone(&parts.clock), jwks, Arc::clone(&parts.counters)),
            clock: parts.clock,
            policy: parts.policy,
            endpoints: parts.providers.iter().map(endpoint).collect(),
            entitlements: Entitlements::new(parts.catalogue),
            providers: parts.providers,
            counters: parts.counters,
            unsealer: parts.unsealer,
            unsealing: parts.unsealing,
            upstream: parts.upstream,
            recorder: parts.recorder,
            payments: parts.payments,
            holds: parts.holds,
            circuits,
            bodies: room::Room::default(),
            awaited: queue::Bodies::default(),
            stalls: stalls::Stalls::default(),
        })
    }

    /// Ends answers that do not flow, for ever.
    pub fn watch_stalls(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stalls.clone().run()
    }

    /// The configured providers.
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Answers a request to a provider that is not configured, as one that is would answer up to
    /// where the difference must show: who asks comes first here too, so a stranger does not learn
    /// which names are configured.
    pub async fn refuse_unknown(&self, request: Clean, name: &str, id: &RequestId) -> Response<AnswerBody> {
        let (_, _, secrets) = request.into_parts();
        let problem = match self.prove(secrets, name).await {
            Ok(()) => Problem::new(Code::UnknownProvider, "No provider of this name is configured."),
            Err(problem) => problem,
        };
        metrics::denied(problem.code.as_str());
        tracing::info!(event = "request_denied", request_id = %id, code = problem.code.as_str(),
            status = problem.status().as_u16());
        problem.answer(Form::Native(Dialect::OpenAi), id.as_str())
    }

    /// Whether a good token came with a request to a provider of any name.
    async fn prove(&self, mut secrets: SecretHeaders, name: &str) -> Result<(), Problem> {
        let _place = secrets.take_place();
        let mut any = self.providers.get("openai").ok_or_else(authenticate::unauthorized)?.clone();
        if let Ok(name) = name.parse() {
            any.id = name;
        }
        let presented = slots::read(secrets, &any, &self.policy)?;
        self.authenticator.authenticate(&self.views, &presented.token).await.map(drop)
    }

    /// Serves one request to a provider's surface; `below` is the path after the provider's name.
    pub async fn serve(
        self: &Arc<Self>,
        request: Clean,
        provider: &Provider,
        below: &str,
        id: &RequestId,
    ) -> Response<AnswerBody> {
        let _in_flight = metrics::in_flight();
        match self.pass(request, provider, below, id, Instant::now()).await {
            Ok(answer) => answer,
            Err(problem) => {
                metrics::denied(problem.code.as_str());
                tracing::info!(event = "request_denied", request_id = %id, provider = %provider.id,
                    code = problem.code.as_str(), status = problem.status().as_u16());
                problem.answer(Form::Native(provider.dialect), id.as_str())
            }
        }
    }

    async fn pass(
        self: &Arc<Self>,
        request: Clean,
        provider: &Provider,
        below: &str,
        id: &RequestId,
        started: Instant,
    ) -> Result<Response<AnswerBody>, Problem> {
        let (parts, incoming, mut secrets) = request.into_parts();
        let place = secrets.take_place();
        let offered = slots::read(secrets, provider, &self.policy)?;
        // Who asks comes before what is asked: a stranger learns nothing about the surface.
        let proven = self.authenticator.authenticate(&self.views, &offered.token).await?;
        drop(place);
        self.refuse_where_it_is_off(&proven).await?;
        heads::check_headers(&parts.headers)?;
        let target = path::find(provider, &parts.method, below, parts.uri.query())?;
        // The place is given back when all of it is here.
        let awaited = if incoming.is_end_stream() { None } else { Some(self.awaited.take(&proven.caller)?) };
        // Before the body: a long upload must not make a sealed key stale.
        let presented = self.open(offered, provider, &proven.caller).await?;
        let idempotency_keys = once::keys(&parts.headers);
        let passage = Passage { id, provider, operation: target.operation, started, idempotency_keys };
        let mut body = body::read(&self.bodies, passage.operation, &parts, incoming).await?;
        drop(awaited);
        let model = model(&target, &body)?;
        let permit = self.recorder.reserve()?;
        self.look(&presented).await?;
        let candidates = Candidates::one(provider, model, presented.brought());
        let (admitted, _) = self.admit(&passage, &candidates, &presented.token, proven, &body).await?;
        self.claim(&presented).await?;
        let model = target.model.map(str::to_owned).or_else(|| body.facts.model.take());
        let opened = Opened::new(&passage, admitted, model, &body, self.clock.now(), permit);
        let outbound = Outbound::new(target, parts, body);
        self.serve_admitted(passage, opened, presented, outbound).await
    }

    /// Calls the provider for a request that was admitted, and settles it.
    async fn serve_admitted(
        self: &Arc<Self>,
        passage: Passage<'_>,
        opened: Opened,
        presented: Presented,
        outbound: Outbound<'_>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let Opened { mut settlement, choice, spare } = opened;
        let key = match self.unseal(&passage, presented, &choice).await {
            Ok(key) => key,
            Err(problem) => {
                settlement.answered(problem.status().as_u16());
                settlement.end(Outcome::UpstreamError);
                return Err(problem);
            }
        };
        Ok(self.forward(passage, outbound, key, settlement, spare).await)
    }

    /// The one step that turns an admission into a key.
    async fn unseal(
        &self,
        passage: &Passage<'_>,
        presented: Presented,
        choice: &KeyChoice,
    ) -> Result<slots::PlacedKey, Problem> {
        match choice {
            KeyChoice::Brought(_) => presented.key.map(|(_, key)| key).ok_or_else(|| {
                Problem::new(Code::KeyNotFound, "The request brought no key for this provider.")
            }),
            KeyChoice::Platform => {
                let key = self.payments.key(&passage.provider.id).ok_or_else(|| {
                    Problem::new(Code::KeyNotFound, "The platform has no key for this provider.")
                })?;
                Ok(slots::PlacedKey { slot: passage.provider.auth_slot(), key: Arc::clone(key) })
            }
            KeyChoice::Held(credential) => match self.unsealer.open(credential, passage.provider).await {
                Ok(key) => Ok(slots::PlacedKey { slot: passage.provider.auth_slot(), key: Arc::new(key) }),
                Err(error) => {
                    tracing::error!(event = "credential_unreadable", %error, request_id = %passage.id,
                        tenant = %credential.summary.tenant, credential = %credential.summary.id);
                    Err(not_opened(&error))
                }
            },
        }
    }
}

/// Why a stored key did not open, for the client.
fn not_opened(error: &UnsealError) -> Problem {
    match error {
        UnsealError::Root(error) => Problem::of_root(
            error,
            "The stored key cannot be opened now. No other key was used in its place.",
        ),
        UnsealError::Unreadable => {
            Problem::unavailable("The stored key cannot be opened. No other key was used in its place.")
        }
    }
}

/// The model of a request: the path's where it names one, else the body's. Two that differ are two
/// readings: a token bound to one could be used for the other.
fn model<'r>(target: &path::Target<'r>, body: &'r body::ReadBody) -> Result<Option<&'r str>, Problem> {
    match (target.model, body.facts.model.as_deref()) {
        (Some(path), Some(body)) if body.strip_prefix("models/").unwrap_or(body) != path => {
            Err(Problem::new(Code::InvalidRequest, "The body names another model than the path."))
        }
        (Some(path), _) => Ok(Some(path)),
        (None, body) => Ok(body),
    }
}

/// Reads a key that a client sent.
fn parse_key(value: SecretBytes) -> Result<Arc<ApiKey>, Problem> {
    let key = provider_key(value).map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))?;
    Ok(Arc::new(key))
}
