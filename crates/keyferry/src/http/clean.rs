//! The witness that a request went through the ingress guard.

use http::{Request, Version, request::Parts};
use http_body::Body;

use super::{
    client_body::ClientBody,
    ingress::{self, Reason},
};

/// A request that can be read in one way only. Made by [`Clean::judge`] and nothing else.
pub struct Clean(Request<ClientBody>);

impl Clean {
    /// Over HTTP/1.1 the guard has judged the bytes before the library saw them; over HTTP/2 the
    /// library has judged the frames, and the rest is judged here.
    pub(super) fn judge(request: Request<ClientBody>) -> Result<Self, Reason> {
        if request.version() != Version::HTTP_2 {
            return Ok(Self(request));
        }
        let (parts, body) = request.into_parts();
        ingress::judge_h2(&parts, !body.is_end_stream())?;
        Ok(Self(Request::from_parts(parts, body)))
    }

    /// The request's path.
    pub fn path(&self) -> &str {
        self.0.uri().path()
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (Parts, ClientBody) {
        self.0.into_parts()
    }

    /// The request itself, for the control plane's router.
    pub fn into_inner(self) -> Request<ClientBody> {
        self.0
    }
}
