//! `GET /v1/models`: what this caller may ask for by name. No provider is called, and nothing counts towards the quota.
//!
//! Providers have more models than the configuration names. These are not listed; they can be asked for all the same.

use std::collections::BTreeMap;

use http::{HeaderValue, Response, header, request::Parts};
use keyferry_core::{
    admission::{Caller, Denial, TenantView},
    code::Code,
    dialect::Dialect,
    model::{ModelName, Named},
    operation::{self, RequestBody},
    port::counter::Scope,
    provider::Provider,
    tier::Tier,
};
use serde_json::{Value, json};

use super::super::{
    Gateway,
    admit::hash_mismatch,
    authenticate::Authenticated,
    body::{self, ReadBody},
    jwt,
    slots::{Offered, OfferedKey, names},
    views::away,
};
use crate::http::{Allowance, AnswerBody, ClientBody, Problem, limit_name};

/// Who has an alias: its operator, through this program.
const OWNER_OF_ALIASES: &str = "keyferry";

impl Gateway {
    /// The list, or the model of a name.
    pub(super) async fn models(
        &self,
        name: Option<&str>,
        offered: Offered,
        parts: &Parts,
        incoming: ClientBody,
    ) -> Result<Response<AnswerBody>, Problem> {
        let operation = operation::find(Dialect::OpenAi, "GET", "/v1/models").map(|found| found.operation);
        let operation = operation.filter(|found| found.body == RequestBody::None);
        let operation = operation.unwrap_or_else(|| unreachable!("it is in the table"));
        let body = body::read(&self.bodies, operation, parts, incoming).await?;
        let Authenticated { caller, view } = self.identify_for(&offered, &body).await?;
        let tenant = &view.tenant;
        tenant.gate(self.policy.enabled).map_err(|denial| Problem::new(denial.code(), denial.to_string()))?;
        let tier = self.entitlements.tier(&tenant.tenant);
        self.draw_for(&caller, tier).await?;
        let mut models = self.visible(&caller, tenant, tier, offered.key.as_ref());
        let answer = match name {
            None => json!({"object": "list", "data": models.into_values().collect::<Vec<_>>()}),
            Some(name) => models.remove(name).ok_or_else(|| {
                Problem::new(Code::NotFound, "No model of this name is listed for this caller.")
            })?,
        };
        let mut answer = Response::new(AnswerBody::from(answer.to_string().into_bytes()));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(answer)
    }

    /// Proves the caller, and uses up a token that is good for one request.
    async fn identify_for(&self, offered: &Offered, body: &ReadBody) -> Result<Authenticated, Problem> {
        let seen = self.authenticator.authenticate(&self.views, &offered.token).await?;
        if let Some(wanted) = seen.caller.req_hash()
            && !body.whole().is_some_and(|bytes| jwt::body_matches(wanted, bytes))
        {
            return Err(hash_mismatch());
        }
        self.identify_on_view(&offered.token).await
    }

    /// Listing is limited as calling is, by itself: it is no request to a provider.
    async fn draw_for(&self, caller: &Caller, tier: &Tier) -> Result<(), Problem> {
        let now = self.clock.now();
        let rate = caller.rate().unwrap_or(tier.rates.over(self.policy.rates).caller);
        let name = format!("models/{}/{}", caller.tenant(), caller.name());
        let wait = self.counters.draw(&name, rate, now).await.map_err(|error| away(&error))?;
        let Some(retry_after_ms) = wait else { return Ok(()) };
        let denial = Denial::RateLimited { scope: Scope::Caller, retry_after_ms };
        let mut problem = Problem::new(denial.code(), denial.to_string());
        problem.retry_after = denial.retry_after(now);
        problem.limit =
            problem.retry_after.and_then(|seconds| Allowance::used_up(limit_name!("models"), rate, seconds));
        Err(problem)
    }

    /// Aliases of the tier, and of the models that the configuration names those that there is a key for: the tenant's,
    /// one that came along, or the platform's where it may pay.
    fn visible(
        &self,
        caller: &Caller,
        view: &TenantView,
        tier: &Tier,
        brought: Option<&OfferedKey>,
    ) -> BTreeMap<String, Value> {
        let has_key = |name: &ModelName, provider: &Provider| {
            view.credential_for(&provider.id).is_some()
                || matches!(brought, Some(OfferedKey::ByName(map)) if names(map.expose(), provider))
                || view.tenant.fallback.missing && self.payments.covers(name)
        };
        let catalogue = &self.entitlements.catalogue;
        let aliases = catalogue
            .aliases()
            .filter(|alias| tier.allows(Named::Alias(alias)).is_ok())
            .map(|alias| (alias.name.as_str().to_owned(), OWNER_OF_ALIASES));
        let models = catalogue
            .models()
            .filter(|name| {
                self.endpoints.get(name.provider.as_str()).is_some_and(|provider| has_key(name, provider))
            })
            .filter(|name| tier.allows(Named::Model { provider: &name.provider, model: &name.model }).is_ok())
            .map(|name| (name.to_string(), name.provider.as_str()));
        let bound = caller.models();
        aliases
            .chain(models)
            .filter(|(id, _)| bound.is_none_or(|bound| bound.contains(id)))
            .map(|(id, owner)| {
                // When a model was made only its provider knows.
                let shown = json!({"id": id, "object": "model", "created": 0, "owned_by": owner});
                (id, shown)
            })
            .collect()
    }
}
