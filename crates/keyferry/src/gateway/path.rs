//! Which operation a path means, and which path upstream that is.
//!
//! Refusals quote nothing of the address: a key that was pasted into it must not come back.

use http::Method;
use keyferry_core::{
    code::Code,
    net::target::query_pairs,
    operation::{self, Matched},
    provider::Provider,
};

use crate::http::Problem;

/// Where a request goes.
pub(super) struct Target<'p> {
    pub(super) operation: &'static operation::Operation,
    /// The model, where the path names it.
    pub(super) model: Option<&'p str>,
    /// Path and query upstream.
    pub(super) upstream: String,
}

/// Finds the operation in the table and checks the query against its allowlist.
pub(super) fn find<'p>(
    provider: &Provider,
    method: &Method,
    below: &'p str,
    query: Option<&str>,
) -> Result<Target<'p>, Problem> {
    let below = below.strip_suffix('/').unwrap_or(below);
    let Some(Matched { operation, model }) = operation::find(provider.dialect, method.as_str(), below) else {
        return Err(Problem::new(
            Code::UnknownOperation,
            format!(
                "The provider {} has no such operation here. Check the method and the path.",
                provider.id
            ),
        ));
    };
    let mut upstream = provider.upstream_path(below);
    let mut separator = '?';
    for (name, value) in query.into_iter().flat_map(query_pairs) {
        if !operation.query.contains(&name) {
            return Err(Problem::new(
                Code::InvalidRequest,
                "A query parameter is not known for this operation.",
            ));
        }
        upstream.push(separator);
        upstream.push_str(name);
        upstream.push('=');
        upstream.push_str(value);
        separator = '&';
    }
    Ok(Target { operation, model, upstream })
}
