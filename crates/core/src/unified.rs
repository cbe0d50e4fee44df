//! The unified surface as data: what it has, and where each provider takes requests in the dialect of OpenAI.
//!
//! Anthropic and Gemini have endpoints of that dialect of their own, so no body is ever translated here.

use std::borrow::Cow;

use crate::{
    dialect::Dialect,
    net::{base_url::BaseUrl, target::model_name},
    operation::{self, Matched, Operation},
    provider::Provider,
};

/// The operations that call a provider.
const CALLS: [&str; 4] = ["chat.completions", "responses", "embeddings", "audio.transcriptions"];

/// An operation of the unified surface.
#[derive(Clone, Debug)]
pub enum Found<'p> {
    /// A provider is called.
    Call(&'static Operation),
    /// The models that the caller may use.
    Models,
    /// One of them.
    Model(Cow<'p, str>),
}

/// Finds the operation of a method and a whole path (`/v1/models`).
pub fn find<'p>(method: &str, path: &'p str) -> Option<Found<'p>> {
    if method == "GET" {
        return match path {
            "/v1/models" => Some(Found::Models),
            // The name has a slash of its own.
            _ => path
                .strip_prefix("/v1/models/")
                .filter(|name| !name.is_empty())
                .map(model_name)
                .map(Found::Model),
        };
    }
    let Matched { operation, .. } = operation::find(Dialect::OpenAi, method, path)?;
    CALLS.contains(&operation.name).then_some(Found::Call(operation))
}

/// The operations that call a provider, as the table has them.
pub fn calls() -> impl Iterator<Item = &'static Operation> {
    operation::table(Dialect::OpenAi).iter().filter(|operation| CALLS.contains(&operation.name))
}

/// A provider where it speaks the dialect of OpenAI.
///
/// It is the same provider at another path: name, host and origin stay, so its stored keys open and its connections
/// are shared. The key goes as a bearer there, whatever header the native surface has for it.
pub fn endpoint(provider: &Provider) -> Provider {
    let below = match provider.dialect {
        Dialect::OpenAi => return provider.clone(),
        Dialect::Anthropic => "/v1",
        Dialect::Gemini => "/v1beta/openai",
    };
    let base = BaseUrl::parse(&format!("{}{below}", provider.base))
        .unwrap_or_else(|_| unreachable!("a canonical URL with more path is canonical"));
    Provider { id: provider.id.clone(), dialect: Dialect::OpenAi, base }
}

/// Whether a provider has an operation at its [`endpoint`].
pub fn has(provider: &Provider, operation: &Operation) -> bool {
    match provider.dialect {
        Dialect::OpenAi => true,
        Dialect::Anthropic => operation.name == "chat.completions",
        Dialect::Gemini => matches!(operation.name, "chat.completions" | "embeddings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{AuthSlot, Providers};

    #[test]
    fn each_provider_is_called_at_its_own_endpoint_with_a_bearer() {
        let providers = Providers::built_in();
        for (name, path) in [
            ("openai", "/v1/chat/completions"),
            ("anthropic", "/v1/chat/completions"),
            ("gemini", "/v1beta/openai/chat/completions"),
        ] {
            let native = providers.get(name).expect("built in");
            let endpoint = endpoint(native);
            assert_eq!(endpoint.upstream_path("/v1/chat/completions"), path);
            assert_eq!(endpoint.auth_slot(), AuthSlot::Bearer, "{name}");
            assert_eq!(endpoint.base.origin(), native.base.origin(), "{name}");
        }
    }

    #[test]
    fn the_surface_has_four_calls_and_the_models() {
        assert_eq!(calls().count(), CALLS.len());
        let name = |method, path| match find(method, path) {
            Some(Found::Call(operation)) => operation.name.into(),
            Some(Found::Models) => "models".into(),
            Some(Found::Model(name)) => name,
            None => Cow::Borrowed(""),
        };
        assert_eq!(name("POST", "/v1/responses"), "responses");
        assert_eq!(name("GET", "/v1/models"), "models");
        for path in ["/v1/models/acme/meta/llama", "/v1/models/acme%2Fmeta%2Fllama"] {
            assert_eq!(name("GET", path), "acme/meta/llama");
        }
        for (method, path) in [
            ("POST", "/v1/moderations"),
            ("POST", "/v1/models"),
            ("GET", "/v1/models/"),
            ("GET", "/v1/responses/x"),
            ("GET", "/v1/chat/completions"),
        ] {
            assert!(find(method, path).is_none(), "{method} {path}");
        }
    }
}
