//! The control plane. One folder a resource, one file an operation.
//!
//! It holds the vault, which seals; what opens keys that clients sealed to be stored; and a key test,
//! which says a verdict. It has no way to open a stored key.

mod audit;
mod context;
mod credentials;
mod issuers;
mod json;
mod keys;
mod openapi;
mod page;
mod problem;
mod rows;
mod sealing_keys;
mod tenants;
mod text;
mod tokens;
mod usage;

use std::sync::Arc;

use axum::{
    Router,
    middleware::map_response,
    response::Response,
    routing::{get, post},
};
use keyferry_core::{
    admission::Policy,
    clock::Clock,
    model::Catalogue,
    port::{counter::Counters, store::Store},
    provider::Providers,
    token::TokenHash,
};
use keyferry_envelope::Entropy;
pub use openapi::document;

use crate::{
    custody::{Unsealing, Vault},
    gateway::{KeyTest, Recorder},
    http::EndsConnection,
    orders::Orders,
};

/// What the control plane needs.
#[expect(missing_docs, reason = "each is what its type says")]
pub struct AdminState {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub store: Arc<dyn Store>,
    pub counters: Arc<dyn Counters>,
    pub orders: Arc<Orders>,
    pub providers: Arc<Providers>,
    pub catalogue: Arc<Catalogue>,
    pub policy: Policy,
    pub vault: Vault,
    /// `None` where sealed keys are not accepted.
    pub unsealing: Option<Unsealing>,
    pub key_test: KeyTest,
    pub recorder: Recorder,
    /// The operator's tokens: the stored one, and the one in the environment.
    pub operators: Vec<TokenHash>,
}

/// The route table.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/openapi.json", get(openapi::get))
        .route("/api/v1/tenants", post(tenants::create).get(tenants::list))
        .route("/api/v1/tenants/{tenant}", get(tenants::get).patch(tenants::update).delete(tenants::delete))
        .route(
            "/api/v1/tenants/{tenant}/credentials",
            post(credentials::store).layer(map_response(brought_a_key)).get(credentials::list),
        )
        .route(
            "/api/v1/tenants/{tenant}/credentials/{credential}",
            get(credentials::get).delete(credentials::revoke),
        )
        .route(
            "/api/v1/tenants/{tenant}/credentials/{credential}/rotate",
            post(credentials::rotate).layer(map_response(brought_a_key)),
        )
        .route("/api/v1/tenants/{tenant}/credentials/{credential}/test", post(credentials::test))
        .route("/api/v1/tenants/{tenant}/tokens", post(tokens::issue).get(tokens::list))
        .route("/api/v1/tenants/{tenant}/tokens/{token}", axum::routing::delete(tokens::revoke))
        .route("/api/v1/tenants/{tenant}/issuers", post(issuers::register).get(issuers::list))
        .route("/api/v1/tenants/{tenant}/issuers/{issuer}", axum::routing::delete(issuers::remove))
        .route("/api/v1/tenants/{tenant}/usage", get(usage::summary))
        .route("/api/v1/tenants/{tenant}/usage/requests", get(usage::requests))
        .route("/api/v1/tenants/{tenant}/budget", get(usage::budget))
        .route("/api/v1/tenants/{tenant}/audit", get(audit::list))
        .route("/api/v1/keys/test", post(keys::test))
        .route("/api/v1/sealing-keys", get(sealing_keys::list))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(Arc::new(state))
}

/// A key in a body went through the buffers of its connection, which live as long as it does.
async fn brought_a_key(mut answer: Response) -> Response {
    answer.extensions_mut().insert(EndsConnection);
    answer
}
