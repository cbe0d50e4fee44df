//! The unified surface, `/v1`: the dialect of OpenAI before every provider, and aliases for models.
//!
//! The way through is that of [`Gateway::serve`]. What is added: the body's `model` says who serves, and the provider
//! gets its own name for it in that place. No other byte changes.

mod choice;
mod keys;
mod models;

use std::{sync::Arc, time::Instant};

use http::{HeaderValue, Method, Response, request::Parts};
use http_body::Body as _;
use keyferry_core::{
    code::Code,
    dialect::Dialect,
    id::RequestId,
    operation::Operation,
    unified::{self, Found},
};

use super::{
    Gateway, Opened, Outbound, Passage,
    authenticate::Authenticated,
    body, heads, once,
    path::Target,
    settle::recordable,
    slots::{self, Offered, Presented},
};
use crate::{
    http::{AnswerBody, Clean, ClientBody, Form, Problem},
    telemetry::metrics,
};

/// Which model of which provider served.
const SERVED_BY: &str = "x-keyferry-model";

/// A call on this surface, whose caller is known.
struct Call<'a> {
    id: &'a RequestId,
    operation: &'static Operation,
    parts: Parts,
    incoming: ClientBody,
    started: Instant,
}

impl Gateway {
    /// Serves one request to the unified surface.
    pub async fn serve_unified(self: &Arc<Self>, request: Clean, id: &RequestId) -> Response<AnswerBody> {
        let _in_flight = metrics::in_flight();
        match self.pass_unified(request, id, Instant::now()).await {
            Ok(answer) => answer,
            Err(problem) => {
                metrics::denied(problem.code.as_str());
                tracing::info!(event = "request_denied", request_id = %id, code = problem.code.as_str(),
                    status = problem.status().as_u16());
                problem.answer(Form::Native(Dialect::OpenAi), id.as_str())
            }
        }
    }

    async fn pass_unified(
        self: &Arc<Self>,
        request: Clean,
        id: &RequestId,
        started: Instant,
    ) -> Result<Response<AnswerBody>, Problem> {
        let (parts, incoming, mut secrets) = request.into_parts();
        let place = secrets.take_place();
        let offered = slots::read_unified(secrets, &self.policy)?;
        let proven = self.authenticator.authenticate(&self.views, &offered.token).await?;
        drop(place);
        self.refuse_where_it_is_off(&proven).await?;
        heads::check_headers(&parts.headers)?;
        match find(&parts.method, parts.uri.path(), parts.uri.query())? {
            Found::Models => self.models(None, offered, &parts, incoming).await,
            Found::Model(name) => self.models(Some(&*name), offered, &parts, incoming).await,
            Found::Call(operation) => {
                let call = Call { id, operation, parts, incoming, started };
                self.call_unified(call, offered, proven).await
            }
        }
    }

    async fn call_unified(
        self: &Arc<Self>,
        call: Call<'_>,
        offered: Offered,
        proven: Authenticated,
    ) -> Result<Response<AnswerBody>, Problem> {
        let Call { id, operation, parts, incoming, started } = call;
        // The place is given back when all of it is here.
        let awaited = if incoming.is_end_stream() { None } else { Some(self.awaited.take(&proven.caller)?) };
        // Before the body: a long upload must not make a sealed key stale.
        let (keys, claim) = self.open_unified(offered.key, &proven.caller).await?;
        let mut body = body::read(&self.bodies, operation, &parts, incoming).await?;
        drop(awaited);
        let place = body.place_of_model(operation, &parts)?;
        let asked = body.facts.model.clone().unwrap_or_default();
        let choice = self.choice(operation, &asked, keys)?;
        let candidates = &choice.candidates;
        let idempotency_keys = once::keys(&parts.headers);
        let provider = candidates.first.provider;
        let passage = Passage { id, provider, operation, started, idempotency_keys };
        let permit = self.recorder.reserve()?;
        let mut presented = Presented { token: offered.token, key: None, claim };
        self.look(&presented).await?;
        let (admitted, candidate) = self.admit(&passage, candidates, &presented.token, proven, &body).await?;
        self.claim(&presented).await?;
        let passage = Passage { provider: candidate.provider, ..passage };
        let model = candidate.model.unwrap_or_default();
        body.put_model(&place, model);
        presented.key = choice.into_key(candidate.provider);
        let target = Target {
            operation,
            model: None,
            upstream: candidate.provider.upstream_path(parts.uri.path().trim_end_matches('/')),
        };
        let served = HeaderValue::from_str(&recordable(format!("{}/{model}", candidate.provider.id)));
        let model = candidate.model.map(str::to_owned);
        let opened = Opened::new(&passage, admitted, model, &body, self.clock.now(), permit);
        let outbound = Outbound::new(target, parts, body);
        let mut answer = self.serve_admitted(passage, opened, presented, outbound).await?;
        // A name that is no header's value is told in the usage row alone.
        if let Ok(served) = served {
            answer.headers_mut().insert(SERVED_BY, served);
        }
        Ok(answer)
    }
}

/// Finds the operation; none of them has query parameters.
fn find<'p>(method: &Method, path: &'p str, query: Option<&str>) -> Result<Found<'p>, Problem> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let found = unified::find(method.as_str(), path).ok_or_else(|| {
        Problem::new(
            Code::UnknownOperation,
            "The unified surface has no such operation. The providers' own surfaces have more.",
        )
    })?;
    if query.is_some_and(|query| !query.is_empty()) {
        return Err(Problem::new(Code::InvalidRequest, "A query parameter is not known for this operation."));
    }
    Ok(found)
}
