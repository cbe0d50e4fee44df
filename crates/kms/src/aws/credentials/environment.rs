//! Keys in the environment.

use keyferry_envelope::SecretBytes;

use super::{Credentials, Env, Missing, text, variable};

pub(super) fn find(env: &Env) -> Result<Option<Credentials>, Missing> {
    // Into what is wiped first, whatever comes of it.
    let take = |name| variable(env, name).map(|value| SecretBytes::new(value.into_bytes()));
    let (id, key, token) =
        (take("AWS_ACCESS_KEY_ID"), take("AWS_SECRET_ACCESS_KEY"), take("AWS_SESSION_TOKEN"));
    let (id, secret_access_key) = match (id, key) {
        (None, None) => return Ok(None),
        (Some(id), Some(key)) => (id, key),
        _ => return Err(Missing::wrong("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")),
    };
    for value in [Some(&secret_access_key), token.as_ref()].into_iter().flatten() {
        text(value.expose())?;
    }
    let access_key_id = text(id.expose())?.to_owned();
    Ok(Some(Credentials { access_key_id, secret_access_key, session_token: token, expires: None }))
}
