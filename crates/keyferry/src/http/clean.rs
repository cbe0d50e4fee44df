//! The witness that a request went through the ingress guard.

use http::{Request, Version, request::Parts};
use http_body::Body;

use super::{
    client_body::ClientBody,
    ingress::{self, Extracted, Reason},
    route::ClientAddr,
    secrets::SecretHeaders,
};

/// A request that can be read in one way only, and its secrets apart from it. Made by
/// [`Clean::judge`] and nothing else.
pub struct Clean {
    request: Request<ClientBody>,
    secrets: SecretHeaders,
}

impl Clean {
    /// Over HTTP/1.1 the guard has judged the bytes before the library saw them, and extracted the
    /// secrets; over HTTP/2 the library has judged the frames, and the rest is done here.
    pub(super) fn judge(
        mut request: Request<ClientBody>,
        extracted: Option<Extracted>,
        client: ClientAddr,
    ) -> Result<Self, Reason> {
        if request.version() == Version::HTTP_2 {
            let (mut parts, body) = request.into_parts();
            ingress::judge_h2(&parts, !body.is_end_stream())?;
            let secrets = SecretHeaders::out_of(&mut parts.headers).privately(client.is_private());
            return Ok(Self { request: Request::from_parts(parts, body), secrets });
        }
        match extracted {
            Some(Extracted { mark, secrets }) if secrets.belong_to(request.headers_mut(), mark) => {
                Ok(Self { request, secrets: secrets.privately(client.is_private()) })
            }
            _ => Err(Reason("The request's headers were not read as they were judged.")),
        }
    }

    /// The request's path.
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (Parts, ClientBody, SecretHeaders) {
        let (parts, body) = self.request.into_parts();
        (parts, body, self.secrets)
    }
}
