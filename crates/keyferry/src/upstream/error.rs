//! How a call to a provider can fail, before there is an answer to pass on.

use keyferry_core::{code::Code, net::address::AnswersRefused};

/// Why there is no answer. No text in here comes from a request or holds a header.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The name did not resolve.
    #[error("The provider's host name could not be resolved.")]
    Dns,
    /// The name resolved to an address that must not be dialled.
    #[error("The provider's host name resolves to an address that is not public. It was not called.")]
    AddressRefused(AnswersRefused),
    /// No connection.
    #[error("The provider could not be reached.")]
    Connect(std::io::Error),
    /// The provider could not prove its name.
    #[error("The provider's certificate is not valid for its host name. The key was not sent.")]
    Tls(std::io::Error),
    /// Too slow, in this phase.
    #[error("The provider did not answer in time ({0}).")]
    Timeout(&'static str),
    /// The exchange broke.
    #[error("The connection to the provider broke before it answered.")]
    Exchange(hyper::Error),
    /// The key could not be put in its place. The connection was closed before a byte left.
    #[error("The request could not be prepared for the provider.")]
    Injection,
}

impl UpstreamError {
    /// The code on the wire.
    pub fn code(&self) -> Code {
        match self {
            Self::Dns => Code::DnsFailed,
            Self::AddressRefused(_) => Code::SsrfBlocked,
            Self::Timeout(_) => Code::UpstreamTimeout,
            Self::Connect(_) | Self::Tls(_) | Self::Exchange(_) | Self::Injection => Code::UpstreamError,
        }
    }
}
