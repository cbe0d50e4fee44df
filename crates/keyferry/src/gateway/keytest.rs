//! Testing a key: one request that costs nothing, and a verdict in ten states.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use http_body_util::{BodyExt, Limited};
use keyferry_core::{
    admission::Caller,
    dialect::Dialect,
    id::TenantId,
    provider::Provider,
    verdict::{KeyStatus, classify},
};
use keyferry_envelope::{ApiKey, SecretBytes};
use tokio::time::{Instant, timeout};

use super::{AwaitedBody, Gateway, authenticate::Shown, not_opened, parse_key, slots::PlacedKey};
use crate::{
    http::{Problem, copy},
    telemetry::metrics,
    upstream::{Call, ForwardBody, Lane, Purpose, RequestHead, UpstreamError},
};

/// How long a test may take.
const TEST_TIME: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 2 * 1024 * 1024;

/// The gateway's one service to the control plane: it tests keys, and never shows one.
#[derive(Clone)]
pub struct KeyTest(Arc<Gateway>);

/// The verdict on a key.
#[derive(Clone, Copy, Debug)]
pub struct TestedKey {
    /// In which state it was found.
    pub status: KeyStatus,
}

impl KeyTest {
    /// Over a gateway.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self(gateway)
    }

    /// Tests a stored key. `None` if the tenant has no active credential of this id.
    pub async fn stored(
        &self,
        user: &str,
        tenant: &TenantId,
        credential: &str,
    ) -> Result<Option<TestedKey>, Problem> {
        let gateway = &self.0;
        // What is stored now is tested, not what is remembered.
        let Some(view) = gateway.views.read_again(tenant).await? else { return Ok(None) };
        let found = view.tenant.credentials.iter().find(|one| one.summary.id.as_str() == credential);
        let Some(found) = found else { return Ok(None) };
        let Some(provider) = gateway.providers.get(found.summary.provider.as_str()) else { return Ok(None) };
        let key = gateway.unsealer.open(found, provider).await.map_err(|error| {
            tracing::error!(event = "credential_unreadable", %error, %tenant, credential);
            not_opened(&error)
        })?;
        let placed = PlacedKey { slot: provider.auth_slot(), key: Arc::new(key) };
        Ok(Some(self.run(user, Some(tenant), provider, placed).await))
    }

    /// Tests a key that came with the request.
    pub async fn carried(
        &self,
        user: &str,
        tenant: Option<&TenantId>,
        provider: &Provider,
        value: SecretBytes,
    ) -> Result<TestedKey, Problem> {
        let placed = PlacedKey { slot: provider.auth_slot(), key: parse_key(value)? };
        Ok(self.run(user, tenant, provider, placed).await)
    }

    /// Who presents this token, its one use claimed if it has only one.
    pub async fn caller(&self, token: &SecretBytes) -> Result<Caller, Problem> {
        self.0.identify(&Shown::new(copy(token.expose()))).await
    }

    /// A place for a request of this caller while it is answered: its body may not be here.
    pub fn await_body(&self, caller: &Caller) -> Result<AwaitedBody, Problem> {
        self.0.awaited.take(caller)
    }

    async fn run(
        &self,
        user: &str,
        tenant: Option<&TenantId>,
        provider: &Provider,
        placed: PlacedKey,
    ) -> TestedKey {
        let status = match timeout(TEST_TIME, self.ask(tenant, provider, &placed)).await {
            Ok(Ok((status, body))) => classify(provider.dialect, status, &body),
            Ok(Err(_)) | Err(_) => KeyStatus::Unreachable,
        };
        let usable = matches!(status, KeyStatus::Ok | KeyStatus::OkRestricted | KeyStatus::RateLimited);
        metrics::key_tested(provider.id.as_str(), status.as_str(), usable);
        let event = if usable { "byok_key_test_success" } else { "byok_key_test_failed" };
        let tenant = tenant.map(TenantId::as_str);
        tracing::info!(event, tenant, user, provider = %provider.id, status = status.as_str());
        TestedKey { status }
    }

    async fn ask(
        &self,
        tenant: Option<&TenantId>,
        provider: &Provider,
        placed: &PlacedKey,
    ) -> Result<(u16, Bytes), UpstreamError> {
        let path = provider.upstream_path(match provider.dialect {
            Dialect::OpenAi => "/v1/models",
            Dialect::Anthropic => "/v1/models?limit=1",
            Dialect::Gemini => "/v1beta/models?pageSize=1",
        });
        let mut head = RequestHead::new(&Method::GET, &path, provider.host())?;
        head.add(&header::ACCEPT, &HeaderValue::from_static("application/json"));
        head.add(&header::ACCEPT_ENCODING, &HeaderValue::from_static("identity"));
        head.add(&header::USER_AGENT, &HeaderValue::from_static("keyferry"));
        if provider.dialect == Dialect::Anthropic {
            let version = HeaderName::from_static("anthropic-version");
            head.add(&version, &HeaderValue::from_static("2023-06-01"));
        }
        let mut call = Call {
            lane: Lane {
                host: provider.host().clone(),
                purpose: Purpose::Provider(provider.id.clone()),
                tenant: tenant.cloned(),
            },
            method: Method::GET,
            head,
            body: ForwardBody::Empty,
            deadline: Instant::now() + TEST_TIME,
            key: Some((placed.slot, Arc::<ApiKey>::clone(&placed.key))),
        };
        let answer = self.0.upstream.send(&mut call).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        Ok((status, body.map(|body| body.to_bytes()).unwrap_or_default()))
    }
}
