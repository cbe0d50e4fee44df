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
/// [`Clean::judge`] and nothing else. In a box: each that hands it on would have room for it.
pub struct Clean(Box<Judged>);

struct Judged {
    request: Request<ClientBody>,
    secrets: SecretHeaders,
}

impl Clean {
    /// Over HTTP/1.1 the guard has judged the bytes before the library saw them; over HTTP/2 the
    /// library has judged the frames, and the rest is judged here.
    pub(super) fn judge(
        request: Request<ClientBody>,
        extracted: Option<Extracted>,
        client: ClientAddr,
    ) -> Result<Self, Reason> {
        let (mut parts, body) = request.into_parts();
        if parts.version == Version::HTTP_2 {
            ingress::judge_h2(&parts, !body.is_end_stream())?;
        }
        let Some(secrets) =
            extracted.filter(|one| one.secrets.fit(&parts.headers, one.mark)).map(|one| one.secrets)
        else {
            return Err(Reason("The request's headers were not read as they were judged."));
        };
        secrets.unmark(&mut parts.headers);
        let secrets = secrets.privately(client.is_private());
        Ok(Self(Box::new(Judged { request: Request::from_parts(parts, body), secrets })))
    }

    /// The request's path.
    pub fn path(&self) -> &str {
        self.0.request.uri().path()
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (Parts, ClientBody, SecretHeaders) {
        let Judged { request, secrets } = *self.0;
        let (parts, body) = request.into_parts();
        (parts, body, secrets)
    }
}
