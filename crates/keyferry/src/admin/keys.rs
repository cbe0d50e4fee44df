//! `POST /keys/test`: the verdict on a key that is not stored.

use axum::Json as Body;
use keyferry_core::code::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    context::{Actor, Context},
    json::Json,
    problem::{Answer, Failure},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question<'a> {
    provider: &'a str,
}

/// The headers of other ways to bring a key.
const OTHER_WAYS: [&str; 4] = ["x-byok-keys", "x-encrypted-key", "x-session-key", "x-sealed-key"];

pub(super) async fn test(mut context: Context, body: Json) -> Answer<Body<Value>> {
    let tenant = match &context.actor {
        Actor::Operator => None,
        Actor::OfTenant(caller) => Some(caller.tenant()),
    };
    if !context.state.policy.enabled || !context.state.policy.carried {
        return Err(Failure::new(
            Code::Disabled,
            "Keys in the mode 'carried' are not accepted by this gateway.",
        ));
    }
    if let Some(id) = tenant {
        let missing = || Failure::not_found("tenant");
        context.gate(&context.state.store.tenant(id).await?.ok_or_else(missing)?)?;
    }
    context.draw_key_test().await?;
    let question: Question<'_> = body.read("{provider}, the key in the header X-BYOK-Key")?;
    let provider = context
        .state
        .providers
        .get(question.provider)
        .ok_or_else(|| Failure::new(Code::UnknownProvider, "No provider of this name is configured."))?;
    let key = context
        .secrets
        .take("x-byok-key")?
        .ok_or_else(|| Failure::invalid("The header X-BYOK-Key is missing."))?;
    for name in OTHER_WAYS {
        if context.secrets.take(name)?.is_some() {
            return Err(Failure::invalid("The request brings keys in two ways. Use X-BYOK-Key alone."));
        }
    }
    let tested = context.state.key_test.carried(&context.actor_name(), tenant, provider, key).await?;
    let detail = json!({"provider": provider.id, "status": tested.status});
    let audit = context.audit("key.tested", tenant, provider.id.as_str(), detail);
    context.state.store.append_audit(audit).await?;
    Ok(Body(json!({"status": tested.status})))
}
