//! `GET /tenants/{tenant}/usage`: sums, by any of provider, model, credential, token, accounting, day.

use axum::{Json as Body, extract::Path, http::Uri};
use keyferry_core::port::store::GroupBy;
use serde_json::{Map, Value, json};

use super::super::{
    context::Context,
    page,
    problem::{Answer, Failure},
};

pub(in super::super) async fn summary(
    context: Context,
    Path(tenant): Path<String>,
    uri: Uri,
) -> Answer<Body<Value>> {
    let tenant = context.tenant(&tenant).await?;
    let query = page::read(&uri)?;
    let (from, to) = query.range()?;
    let names: Vec<&str> =
        query.group_by.as_deref().unwrap_or_default().split(',').filter(|n| !n.is_empty()).collect();
    let groups = names.iter().map(|name| group(name)).collect::<Result<Vec<_>, _>>()?;
    if groups.iter().enumerate().any(|(i, one)| groups[..i].contains(one)) {
        return Err(Failure::invalid("'group_by' names something twice."));
    }
    context.state.recorder.flush().await;
    let sums = context.state.store.usage(&tenant.id, from, to, &groups).await?;
    let total = context.state.store.usage(&tenant.id, from, to, &[]).await?;
    let data: Vec<Value> = sums
        .into_iter()
        .filter(|sum| !names.is_empty() || sum.sum.requests > 0)
        .map(|sum| {
            let mut row: Map<String, Value> = names
                .iter()
                .map(|name| (*name).to_owned())
                .zip(sum.keys.into_iter().map(Value::from))
                .collect();
            if let Value::Object(sums) = json!(sum.sum) {
                row.extend(sums);
            }
            Value::Object(row)
        })
        .collect();
    let total = total.into_iter().next().map(|group| group.sum).unwrap_or_default();
    Ok(Body(json!({"from": from, "to": to, "data": data, "total": total})))
}

fn group(name: &str) -> Result<GroupBy, Failure> {
    Ok(match name {
        "provider" => GroupBy::Provider,
        "model" => GroupBy::Model,
        "credential" => GroupBy::Credential,
        "token" => GroupBy::Token,
        "accounting" => GroupBy::Accounting,
        "day" => GroupBy::Day,
        _ => {
            let message = "'group_by' is any of provider, model, credential, token, accounting, day.";
            return Err(Failure::invalid(message));
        }
    })
}
