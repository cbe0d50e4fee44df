//! Credentials that a platform hands to what runs on it: to a container (ECS, EKS), or to a machine
//! (EC2, by IMDSv2 only: version 1 answers whoever can make the machine send a request).

use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header::AUTHORIZATION};
use keyferry_core::time::Timestamp;
use keyferry_envelope::SecretBytes;
use serde::Deserialize;

use super::{Credentials, Env, Missing, read, secret, text, variable};
use crate::{
    aws::Wiped,
    http::{Answer, Call, Endpoint, fault},
};

const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// Where a container is told to ask.
pub(super) struct Container {
    url: String,
    token_file: Option<PathBuf>,
    token: Option<SecretBytes>,
}

impl Container {
    pub(super) fn set_up(env: &Env) -> Option<Self> {
        let relative = variable(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let url = relative
            .map(|path| format!("http://169.254.170.2{path}"))
            .or_else(|| variable(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI"))?;
        Some(Self {
            url,
            token_file: variable(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
            token: variable(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN")
                .map(|token| SecretBytes::new(token.into_bytes())),
        })
    }

    pub(super) async fn credentials(self) -> Result<Credentials, Missing> {
        let (endpoint, path) = taken_apart(&self.url)?;
        let token = match &self.token_file {
            Some(file) => Some(trimmed(&read(file)?)),
            None => self.token,
        };
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, sensitive(token)?);
        }
        document(&get(&endpoint, &path, headers).await?)
    }
}

/// What the machine's own service hands out.
pub(super) async fn machine(env: &Env) -> Result<Credentials, Missing> {
    if variable(env, "AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(Missing::Away("is not to be asked".to_owned()));
    }
    let address = variable(env, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let (endpoint, _) = taken_apart(address.as_deref().unwrap_or("http://169.254.169.254"))?;
    let mut headers = HeaderMap::new();
    headers.insert(TTL, HeaderValue::from_static("60"));
    let nothing = SecretBytes::new(Vec::new());
    let call = Call { method: Method::PUT, path: "/latest/api/token", headers, body: nothing };
    let token = sensitive(trimmed(&granted(endpoint.call(call).await?)?))?;
    let with_token = || HeaderMap::from_iter([(TOKEN, token.clone())]);
    let roles = get(&endpoint, ROLES, with_token()).await?;
    let role = roles.expose().split(|&byte| byte == b'\n').next().unwrap_or_default();
    let role = text(role.trim_ascii()).map_err(|_| Missing::wrong("the machine has no role"))?;
    document(&get(&endpoint, &format!("{ROLES}{role}"), with_token()).await?)
}

async fn get(endpoint: &Endpoint, path: &str, headers: HeaderMap) -> Result<SecretBytes, Missing> {
    let body = SecretBytes::new(Vec::new());
    granted(endpoint.call(Call { method: Method::GET, path, headers, body }).await?)
}

fn granted(answer: Answer) -> Result<SecretBytes, Missing> {
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    Err(fault(answer.status).map_or(Missing::wrong("it has none for us"), Missing::from))
}

fn taken_apart(url: &str) -> Result<(Endpoint, String), Missing> {
    let wrong = || Missing::wrong("its address is none");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let (scheme, authority) = (uri.scheme_str().ok_or_else(wrong)?, uri.authority().ok_or_else(wrong)?);
    let endpoint = Endpoint::metadata(&format!("{scheme}://{authority}"))
        .map_err(|error| Missing::Wrong(error.to_string()))?;
    Ok((endpoint, uri.path_and_query().map_or("/", |path| path.as_str()).to_owned()))
}

fn trimmed(text: &SecretBytes) -> SecretBytes {
    let text = text.expose().trim_ascii();
    SecretBytes::init(text.len(), |copy| copy.copy_from_slice(text))
}

/// It may be of two words (`Basic …`), so it is judged as a header is.
fn sensitive(token: SecretBytes) -> Result<HeaderValue, Missing> {
    let value = HeaderValue::from_maybe_shared(Bytes::from_owner(Wiped(token)));
    let mut value = value.map_err(|_| Missing::wrong("its token is none"))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn document(body: &SecretBytes) -> Result<Credentials, Missing> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Document<'a> {
        access_key_id: &'a str,
        secret_access_key: &'a str,
        token: &'a str,
        expiration: &'a str,
    }
    let garbage = || Missing::Away("its answer holds no credentials".to_owned());
    let read: Document<'_> = serde_json::from_slice(body.expose()).map_err(|_| garbage())?;
    Ok(Credentials {
        access_key_id: text(read.access_key_id.as_bytes())?.to_owned(),
        secret_access_key: secret(read.secret_access_key.as_bytes())?,
        session_token: Some(secret(read.token.as_bytes())?),
        expires: Some(Timestamp::parse(read.expiration).ok_or_else(garbage)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_plain_text_only_the_platforms_own_addresses_are_asked() {
        for good in ["http://169.254.170.2/v2/x", "http://169.254.170.23/v1/x", "http://[fd00:ec2::23]/v1"] {
            assert!(taken_apart(good).is_ok(), "{good}");
        }
        for bad in ["http://169.254.1.1/x", "http://10.0.0.1/x", "http://metadata.example/x", "/x", ""] {
            assert!(taken_apart(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_relative_address_is_of_the_containers_host() {
        let env = |name: &str| (name == "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").then(|| "/v2/x".to_owned());
        let container = Container::set_up(&env).expect("set up");
        assert_eq!(container.url, "http://169.254.170.2/v2/x");
    }
}
