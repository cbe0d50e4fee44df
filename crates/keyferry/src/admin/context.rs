//! The context of an operation: who asks, from where, and whether it is theirs to ask.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use keyferry_core::{
    admission::{Caller, Denial, Grant},
    audit::AuditDraft,
    code::Code,
    id::TenantId,
    port::store::{Store, StoreError},
    tenant::Tenant,
    time::Timestamp,
    token::{Role, TokenHash, looks_like_token},
};
use keyferry_envelope::SecretBytes;

use super::{AdminState, problem::Failure};
use crate::{
    gateway::AwaitedBody,
    http::{Allowance, ClientAddr, Handed, Problem, Repeated, SecretHeaders, copy, limit_name},
};

/// Who asks.
pub(super) enum Actor {
    /// Whoever runs the gateway.
    Operator,
    /// Somebody of a tenant.
    OfTenant(Caller),
}

/// One operation's context.
pub(super) struct Context {
    pub(super) state: Arc<AdminState>,
    pub(super) actor: Actor,
    pub(super) now: Timestamp,
    /// The client's address, for the audit log and the limits by address.
    pub(super) source: String,
    /// What came in secret headers, besides the token.
    pub(super) secrets: SecretHeaders,
    /// The place among those whose bodies are awaited. The operator needs none.
    _awaited: Option<AwaitedBody>,
}

impl FromRequestParts<Arc<AdminState>> for Context {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> Result<Self, Failure> {
        let mut secrets = parts.extensions.remove::<Handed>().map(|handed| handed.take()).unwrap_or_default();
        let place = secrets.take_place();
        let token = take_token(&mut secrets)?;
        let actor = identify(state, &token).await?;
        drop(place);
        let source = match parts.extensions.get::<ClientAddr>() {
            Some(ClientAddr { ip: Some(ip), .. }) => ip.to_string(),
            _ => "local socket".to_owned(),
        };
        let awaited = match &actor {
            Actor::Operator => None,
            Actor::OfTenant(caller) => Some(state.key_test.await_body(caller)?),
        };
        let now = state.clock.now();
        Ok(Self { state: Arc::clone(state), actor, now, source, secrets, _awaited: awaited })
    }
}

/// The token, from `Authorization: Bearer` or `X-Keyferry-Token`.
fn take_token(secrets: &mut SecretHeaders) -> Result<SecretBytes, Failure> {
    let none = || Failure::new(Code::Unauthorized, "No token. Send it as 'Authorization: Bearer …'.");
    let own = secrets.take("x-keyferry-token")?;
    let value = secrets.take("authorization")?;
    if let Some(token) = own {
        return Ok(token);
    }
    let value = value.ok_or_else(none)?;
    let (scheme, token) = value.expose().split_at_checked(7).ok_or_else(none)?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(none());
    }
    Ok(copy(token.trim_ascii()))
}

impl From<Repeated> for Failure {
    fn from(repeated: Repeated) -> Self {
        Self::invalid(repeated.to_string())
    }
}

async fn identify(state: &AdminState, token: &SecretBytes) -> Result<Actor, Failure> {
    let hash = TokenHash::of(token.expose());
    // All are compared, so the time says nothing about which.
    let operator = state.operators.iter().fold(false, |found, known| found | known.matches(&hash));
    if operator {
        return Ok(Actor::Operator);
    }
    if !looks_like_token(token.expose()) && !token.expose().contains(&b'.') {
        return Err(Failure::new(Code::Unauthorized, "The token is not valid."));
    }
    Ok(Actor::OfTenant(state.key_test.caller(token).await?))
}

impl Context {
    /// Only the operator may.
    pub(super) fn operator(&self) -> Result<(), Failure> {
        match self.actor {
            Actor::Operator => Ok(()),
            Actor::OfTenant(_) => Err(Failure::new(Code::Forbidden, "Only the operator may do this.")),
        }
    }

    /// The operator may, and the tenant's own admins. To everybody else the tenant does not exist.
    pub(super) async fn tenant(&self, id: &str) -> Result<Tenant, Failure> {
        let missing = || Failure::not_found("tenant");
        let id: TenantId = id.parse().map_err(|_| missing())?;
        if let Actor::OfTenant(caller) = &self.actor {
            if *caller.tenant() != id {
                return Err(missing());
            }
            if !is_admin(caller) {
                return Err(Failure::new(Code::Forbidden, "This needs a token with the role tenant_admin."));
            }
        }
        self.state.store.tenant(&id).await?.ok_or_else(missing)
    }

    /// As [`Context::tenant`], and BYOK is on for it: the feature gate holds for every route that
    /// brings keys in or uses them.
    pub(super) async fn open_tenant(&self, id: &str) -> Result<Tenant, Failure> {
        let tenant = self.tenant(id).await?;
        self.gate(&tenant)?;
        Ok(tenant)
    }

    /// The feature gate: the kill switch first, then the tenant's own.
    pub(super) fn gate(&self, tenant: &Tenant) -> Result<(), Failure> {
        let denial = if !self.state.policy.enabled {
            Denial::SwitchedOff
        } else if !tenant.byok_enabled {
            Denial::Disabled
        } else {
            return Ok(());
        };
        Err(Failure::new(denial.code(), denial.to_string()))
    }

    /// Who asks, as it is written in the audit log.
    pub(super) fn actor_name(&self) -> String {
        match &self.actor {
            Actor::Operator => "operator".to_owned(),
            Actor::OfTenant(caller) => format!("token:{}", caller.name()),
        }
    }

    /// The audit row of this operation.
    pub(super) fn audit(
        &self,
        action: &'static str,
        tenant: Option<&TenantId>,
        target: &str,
        detail: serde_json::Value,
    ) -> AuditDraft {
        AuditDraft {
            at: self.now,
            actor: self.actor_name(),
            action,
            tenant: tenant.map(|tenant| tenant.as_str().to_owned()),
            target: target.to_owned(),
            source: self.source.clone(),
            detail,
        }
    }

    /// Changes a tenant's things and moves its epoch, so that views that were read before are no
    /// longer used.
    ///
    /// Both are one task of their own: a client that hangs up in between must not leave a
    /// revocation that is written and not obeyed. The epoch moves whatever came of the change; a
    /// store that broke off may have made it all the same.
    pub(super) async fn change<T, F>(
        &self,
        tenant: &TenantId,
        change: impl FnOnce(Arc<dyn Store>) -> F + Send + 'static,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
    {
        let (state, tenant) = (Arc::clone(&self.state), tenant.clone());
        let done = tokio::spawn(async move {
            let changed = change(Arc::clone(&state.store)).await;
            let moved = match &changed {
                Ok(_) => state.orders.carry(&tenant).await,
                // The store may be away: it is not asked for its orders.
                Err(_) => state.orders.move_epoch(&tenant).await,
            };
            let changed = changed?;
            moved?;
            Ok(changed)
        });
        done.await.unwrap_or_else(|_| Err(Problem::unavailable("The change was not made.").into()))
    }

    /// The limit on key tests from one address.
    pub(super) async fn draw_key_test(&self) -> Result<(), Failure> {
        let name = format!("key_test/{}", self.source);
        let rate = self.state.policy.rates.key_test;
        let wait = self.state.counters.draw(&name, rate, self.now).await?;
        let Some(wait) = wait else { return Ok(()) };
        let mut failure =
            Failure::new(Code::RateLimited, "Too many key tests from this address. Wait, then try again.");
        let seconds = wait.div_ceil(1000).max(1);
        failure.0.retry_after = Some(seconds);
        failure.0.limit = Allowance::used_up(limit_name!("key_test"), rate, seconds);
        Err(failure)
    }
}

fn is_admin(caller: &Caller) -> bool {
    matches!(caller.grant(), Grant::Token { role: Role::TenantAdmin, .. })
}

/// A row that was asked for by an id that is none.
pub(super) fn parse_id<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::from(StoreError::NotFound(what)))
}
