//! The route table: every path this program answers, on one page.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderName, HeaderValue, Method, Request, Response, Version, header};
use hyper::body::Incoming;
use keyferry_core::{code::Code, dialect::Dialect, id::RequestId};
use metrics_exporter_prometheus::PrometheusHandle;
use tower::ServiceExt;

use super::{
    AnswerBody, Clean, ClientBody, Form, Health, Problem, RequestIds,
    door::{Door, Unproven},
    ingress::{Extracted, REFUSED_TARGET, Refusal, Shared},
    secrets::Handed,
};
use crate::{
    config::Resources,
    gateway::Gateway,
    telemetry::{Seldom, metrics},
};

/// Everything a listener can serve.
pub struct App {
    /// Where requests have their ids from.
    pub ids: RequestIds,
    /// The data plane.
    pub gateway: Arc<Gateway>,
    /// The control plane.
    pub admin: axum::Router,
    /// Health.
    pub health: Arc<Health>,
    /// Metrics.
    pub metrics: PrometheusHandle,
    /// The places for requests that are not proven.
    pub door: Door,
}

/// On an answer: its connection ends with it, and so do the buffers that its request went through.
#[derive(Clone, Copy)]
pub struct EndsConnection;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddr {
    /// The address; none for a local socket.
    pub ip: Option<IpAddr>,
    /// Whether it came over TLS.
    pub over_tls: bool,
}

impl ClientAddr {
    /// Whether nobody on the way could read it: over TLS, or from this host.
    pub fn is_private(self) -> bool {
        self.over_tls || self.ip.is_none_or(|ip| ip.is_loopback())
    }
}

impl App {
    /// Answers one request on a listener with these resources.
    pub(super) async fn answer(
        &self,
        serves: Resources,
        client: ClientAddr,
        shared: &Arc<Shared>,
        request: Request<Incoming>,
        mut extracted: Option<Extracted>,
        place: Option<Unproven>,
    ) -> Response<AnswerBody> {
        let id = self.ids.make();
        if let Some(extracted) = &mut extracted {
            extracted.secrets.keep_place(place);
        }
        let over_http1 = request.version() != Version::HTTP_2;
        let (parts, incoming) = request.into_parts();
        let (body, rest) = ClientBody::new(incoming, parts.version);
        let request = Request::from_parts(parts, body);
        // In a box of its own, which is made when it begins: thousands that have not begun take little.
        let answer = Box::pin(self.answer_as(&id, serves, client, shared, request, extracted));
        let mut answer = answer.await;
        let ends = answer.extensions_mut().remove::<EndsConnection>().is_some();
        if over_http1 && (ends || rest.is_unread()) {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else if ends {
            shared.end();
        }
        sign(&mut answer, &id);
        answer
    }

    /// Answers a request for which there is no place.
    pub(super) fn refuse_one_too_many(&self, request: &Request<Incoming>) -> Response<AnswerBody> {
        static TOLD: Seldom = Seldom::new();
        metrics::denied(Code::ServiceUnavailable.as_str());
        if let Some(unsaid) = TOLD.say() {
            tracing::warn!(
                event = "requests_crowd",
                unsaid,
                "more requests than may wait to be authenticated"
            );
        }
        let id = self.ids.make();
        let problem = Problem::unavailable("Too many requests wait to be authenticated.");
        let mut answer = problem.answer(Form::of_target(request.uri().path()), id.as_str());
        sign(&mut answer, &id);
        answer
    }

    async fn answer_as(
        &self,
        id: &RequestId,
        serves: Resources,
        client: ClientAddr,
        shared: &Arc<Shared>,
        request: Request<ClientBody>,
        extracted: Option<Extracted>,
    ) -> Response<AnswerBody> {
        if let Some(refusal) = refused(&request, shared) {
            return refuse(&refusal, id);
        }
        let uri = request.uri().clone();
        let target = uri.path();
        let clean = match Clean::judge(request, extracted, client) {
            Ok(clean) => clean,
            Err(reason) => {
                metrics::refused();
                let target = target.to_owned();
                return refuse(&Refusal { reason, status: 400, target, of_body: false }, id);
            }
        };
        let answer = self.route(id, serves, client, clean, target).await;
        // A body that broke a rule while it was read ends the connection, and its answer says why.
        match shared.refusal() {
            Some(refusal) if refusal.of_body && answer.status() == 400 => refuse(refusal, id),
            _ => answer,
        }
    }

    async fn route(
        &self,
        id: &RequestId,
        serves: Resources,
        client: ClientAddr,
        clean: Clean,
        path: &str,
    ) -> Response<AnswerBody> {
        match path {
            "/healthz" if serves.health => return Health::alive(),
            "/readyz" if serves.health => return self.health.ready().await,
            "/metrics" if serves.metrics => return text(metrics::render(&self.metrics)),
            "/" => {
                let message = "There is nothing at this address. See /openapi.json.";
                return nothing(Form::Native(Dialect::OpenAi), message, id);
            }
            _ => {}
        }
        if serves.admin && (path == "/openapi.json" || path.starts_with("/api/")) {
            return self.admin(client, clean).await;
        }
        if serves.gateway
            && let Some(answer) = self.gateway(clean, path, id).await
        {
            return answer;
        }
        nothing(Form::of_target(path), "There is nothing at this address.", id)
    }

    /// `/{provider}/…`: a provider's own surface. `/v1/…`: the unified one.
    async fn gateway(&self, clean: Clean, path: &str, id: &RequestId) -> Option<Response<AnswerBody>> {
        let (name, _) = path.strip_prefix('/')?.split_once('/')?;
        if name == "v1" {
            return Some(self.gateway.serve_unified(clean, id).await);
        }
        if keyferry_core::provider::RESERVED.contains(&name) {
            return None;
        }
        let Some(provider) = self.gateway.providers().get(name) else {
            return Some(self.gateway.refuse_unknown(clean, name, id).await);
        };
        let below = &path[1 + name.len()..];
        Some(self.gateway.serve(clean, provider, below, id).await)
    }

    async fn admin(&self, client: ClientAddr, clean: Clean) -> Response<AnswerBody> {
        let (parts, body, secrets) = clean.into_parts();
        let mut request = Request::from_parts(parts, axum::body::Body::new(body));
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(Handed::new(secrets));
        match self.admin.clone().oneshot(request).await {
            Ok(answer) => answer.map(AnswerBody::Admin),
            Err(never) => match never {},
        }
    }
}

/// What every answer says.
fn sign(answer: &mut Response<AnswerBody>, id: &RequestId) {
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        // The SDKs read these two into their exceptions; a provider's own stay as they are.
        for name in const { [HeaderName::from_static("x-request-id"), HeaderName::from_static("request-id")] }
        {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        headers.insert(const { HeaderName::from_static("x-keyferry-request-id") }, value);
    }
}

fn refused(request: &Request<ClientBody>, shared: &Shared) -> Option<Refusal> {
    let asked = request.uri().path() == REFUSED_TARGET && request.method() == Method::GET;
    asked.then(|| shared.refusal().cloned()).flatten()
}

fn refuse(refusal: &Refusal, id: &RequestId) -> Response<AnswerBody> {
    tracing::info!(event = "request_refused", request_id = %id, reason = refusal.reason.0, status = refusal.status);
    let problem =
        Problem { status: Some(refusal.status), ..Problem::new(Code::InvalidRequest, refusal.reason.0) };
    let mut answer = problem.answer(Form::of_target(&refusal.target), id.as_str());
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn nothing(form: Form, message: &str, id: &RequestId) -> Response<AnswerBody> {
    Problem::new(Code::NotFound, message).answer(form, id.as_str())
}

fn text(body: String) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::from(body.into_bytes()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_private_over_tls_and_from_this_host() {
        let from = |ip: &str, over_tls| ClientAddr { ip: Some(ip.parse().expect("an address")), over_tls };
        for private in
            [from("127.0.0.1", false), from("127.8.0.1", false), from("::1", false), from("192.0.2.1", true)]
        {
            assert!(private.is_private(), "{private:?}");
        }
        assert!(ClientAddr { ip: None, over_tls: false }.is_private(), "a local socket");
        for exposed in ["192.0.2.1", "10.0.0.1", "fe80::1", "::2", "::ffff:10.0.0.1", "0.0.0.0", "::"] {
            assert!(!from(exposed, false).is_private(), "{exposed}");
        }
    }
}
