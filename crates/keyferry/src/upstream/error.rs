//! How a call to a provider can fail, before there is an answer to pass on.

use keyferry_core::{code::Code, net::address::AnswersRefused};

use super::{BadPath, UploadError};

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
    Exchange(#[source] Broken),
    /// The client's upload was longer than it may be.
    #[error("The upload is longer than this operation allows.")]
    UploadTooLong,
    /// The client's upload broke off, or was malformed.
    #[error("The upload broke off, or is malformed.")]
    UploadBroken,
    /// The request's path cannot stand in a request line.
    #[error("The request could not be prepared for the provider.")]
    BadPath,
}

/// How a connection broke, or what came on it that is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It could not be written to, or read.
    #[error("input or output failed: {}", .0.kind())]
    Io(std::io::Error),
    /// The provider closed it.
    #[error("the provider closed the connection")]
    Closed,
    /// What came is no HTTP, or can be read in two ways.
    #[error("what the provider sent is malformed")]
    Malformed,
    /// The client's part of it ended badly.
    #[error("the client's part ended badly")]
    Upload(UploadError),
}

impl From<BadPath> for UpstreamError {
    fn from(_: BadPath) -> Self {
        Self::BadPath
    }
}

impl From<Broken> for UpstreamError {
    /// An exchange breaks also when the client's side of it does.
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Upload(UploadError::TooLong) => Self::UploadTooLong,
            Broken::Upload(UploadError::Client(_) | UploadError::Cut) => Self::UploadBroken,
            broken => Self::Exchange(broken),
        }
    }
}

impl UpstreamError {
    /// Whether the provider was not reached, so that nothing of the request has left.
    pub const fn is_unreached(&self) -> bool {
        matches!(self, Self::Dns | Self::Connect(_) | Self::Tls(_))
    }

    /// The code on the wire.
    pub fn code(&self) -> Code {
        match self {
            Self::Dns => Code::DnsFailed,
            Self::AddressRefused(_) => Code::SsrfBlocked,
            Self::Timeout(_) => Code::UpstreamTimeout,
            Self::UploadTooLong => Code::RequestTooLarge,
            Self::UploadBroken => Code::InvalidRequest,
            Self::Connect(_) | Self::Tls(_) | Self::Exchange(_) | Self::BadPath => Code::UpstreamError,
        }
    }
}
