//! A token in a file, as Kubernetes writes it, exchanged for credentials of a role at the Security Token
//! Service. The exchange is not signed: the token is the proof.

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use keyferry_core::time::Timestamp;
use keyferry_envelope::SecretBytes;
use zeroize::Zeroizing;

use super::{Credentials, Env, Missing, read, secret, text, variable};
use crate::{
    aws::domain,
    http::{Answer, Call, Endpoint, fault},
};

/// Which role, and how to prove that it is ours.
pub(super) struct Role {
    token_file: PathBuf,
    arn: Option<String>,
    session: String,
    endpoint: String,
}

impl Role {
    pub(super) fn set_up(env: &Env, region: &str) -> Option<Self> {
        Some(Self {
            token_file: variable(env, "AWS_WEB_IDENTITY_TOKEN_FILE")?.into(),
            arn: variable(env, "AWS_ROLE_ARN"),
            session: variable(env, "AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "keyferry".to_owned()),
            endpoint: variable(env, "AWS_ENDPOINT_URL_STS")
                .unwrap_or_else(|| format!("https://sts.{region}.{}", domain(region))),
        })
    }

    pub(super) async fn credentials(&self, ca: Option<&Path>) -> Result<Credentials, Missing> {
        let arn = self.arn.as_ref().ok_or(Missing::wrong("AWS_ROLE_ARN is not set"))?;
        let endpoint =
            Endpoint::new(&self.endpoint, ca).map_err(|error| Missing::Wrong(error.to_string()))?;
        let token = read(&self.token_file)?;
        let body = form(&[
            ("Action", b"AssumeRoleWithWebIdentity"),
            ("Version", b"2011-06-15"),
            ("RoleArn", arn.as_bytes()),
            ("RoleSessionName", self.session.as_bytes()),
            ("WebIdentityToken", token.expose().trim_ascii()),
        ]);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        answered(&endpoint.call(Call { method: Method::POST, path: "/", headers, body }).await?)
    }
}

/// The fields, percent-encoded into memory that never moves.
fn form(fields: &[(&str, &[u8])]) -> SecretBytes {
    let most = fields.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut form = Zeroizing::new(Vec::with_capacity(most));
    for (name, value) in fields {
        if !form.is_empty() {
            form.push(b'&');
        }
        form.extend_from_slice(name.as_bytes());
        form.push(b'=');
        for &byte in *value {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                form.push(byte);
            } else {
                let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
                form.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    SecretBytes::new(std::mem::take(&mut *form))
}

pub(super) fn answered(answer: &Answer) -> Result<Credentials, Missing> {
    if !answer.status.is_success() {
        // 400 is what it answers to a token that has ended or that the role does not trust.
        return Err(fault(answer.status)
            .map_or(Missing::wrong("it does not give this token the role"), Missing::from));
    }
    let garbage = || Missing::Away("its answer holds no credentials".to_owned());
    let within = element(answer.body.expose(), "Credentials").ok_or_else(garbage)?;
    let field = |name| element(within, name).map(<[u8]>::trim_ascii).ok_or_else(garbage);
    let end = text(field("Expiration")?).ok().and_then(Timestamp::parse).ok_or_else(garbage)?;
    Ok(Credentials {
        access_key_id: text(field("AccessKeyId")?)?.to_owned(),
        secret_access_key: secret(field("SecretAccessKey")?)?,
        session_token: Some(secret(field("SessionToken")?)?),
        expires: Some(end),
    })
}

/// What stands in the first XML element of this name. Good for values without entities, which
/// credentials are.
fn element<'a>(xml: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let after = |text: &[u8], tag: &str| {
        text.windows(tag.len()).position(|window| window == tag.as_bytes()).map(|at| (at, at + tag.len()))
    };
    let (_, start) = after(xml, &format!("<{name}>"))?;
    let (end, _) = after(&xml[start..], &format!("</{name}>"))?;
    Some(&xml[start..start + end])
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: StatusCode::OK, body: SecretBytes::new(body.as_bytes().to_vec()) }
    }

    #[test]
    fn a_form_is_percent_encoded() {
        assert_eq!(form(&[("A", b"x-_.~9"), ("B", b"a/b+=&\xff")]).expose(), b"A=x-_.~9&B=a%2Fb%2B%3D%26%FF");
    }

    #[test]
    fn credentials_are_read_from_the_answer() {
        let found = answered(&answer(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
              <AssumeRoleWithWebIdentityResult>
                <Credentials>
                  <SessionToken>token/+=</SessionToken>
                  <SecretAccessKey>secret/+</SecretAccessKey>
                  <Expiration>2026-01-01T00:00:00Z</Expiration>
                  <AccessKeyId>ASIAEXAMPLE</AccessKeyId>
                </Credentials>
              </AssumeRoleWithWebIdentityResult>
            </AssumeRoleWithWebIdentityResponse>",
        ))
        .expect("credentials");
        assert_eq!(found.access_key_id, "ASIAEXAMPLE");
        assert_eq!(found.secret_access_key.expose(), b"secret/+");
        assert!(found.session_token.is_some_and(|token| token.expose() == b"token/+="));
        assert_eq!(found.expires, Timestamp::parse("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn half_an_answer_is_none() {
        for body in ["", "<Credentials>", "<Credentials></Credentials>", "</Credentials><Credentials>"] {
            assert!(matches!(answered(&answer(body)), Err(Missing::Away(_))), "{body}");
        }
    }
}
