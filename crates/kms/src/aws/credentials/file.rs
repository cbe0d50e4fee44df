//! Keys in the shared credentials file, as `aws configure` writes it. Profiles that name a role or a
//! process instead are not followed.

use std::{io::ErrorKind, path::PathBuf};

use super::{Credentials, Env, Missing, read, secret, text, variable};

/// Nothing is found where nothing was asked for: without `AWS_PROFILE` and
/// `AWS_SHARED_CREDENTIALS_FILE`, a file or profile that is not there is no fault.
pub(super) fn find(env: &Env) -> Result<Option<Credentials>, Missing> {
    let named = variable(env, "AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let profile = variable(env, "AWS_PROFILE");
    let asked_for = named.is_some() || profile.is_some();
    let usual = || variable(env, "HOME").map(|home| PathBuf::from(home).join(".aws/credentials"));
    let content = match named.or_else(usual).map(|path| read(&path)) {
        Some(Ok(content)) => content,
        Some(Err(error)) if asked_for || error.kind() != ErrorKind::NotFound => {
            return Err(error.into());
        }
        None if asked_for => return Err(Missing::wrong("AWS_PROFILE is set, but HOME is not")),
        None | Some(Err(_)) => return Ok(None),
    };
    match in_profile(content.expose(), profile.as_deref().unwrap_or("default"))? {
        None if asked_for => Err(Missing::wrong("it has no keys for this profile")),
        found => Ok(found),
    }
}

pub(super) fn in_profile(content: &[u8], profile: &str) -> Result<Option<Credentials>, Missing> {
    let (mut id, mut key, mut token) = (None, None, None);
    let mut within = false;
    for line in content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        if let Some(section) = line.strip_prefix(b"[").and_then(|line| line.strip_suffix(b"]")) {
            within = section.trim_ascii() == profile.as_bytes();
        }
        if !within || line.starts_with(b"#") || line.starts_with(b";") {
            continue;
        }
        let Some(equals) = line.iter().position(|&byte| byte == b'=') else { continue };
        let value = line[equals + 1..].trim_ascii();
        match line[..equals].trim_ascii().to_ascii_lowercase().as_slice() {
            b"aws_access_key_id" => id = Some(value),
            b"aws_secret_access_key" => key = Some(value),
            b"aws_session_token" => token = Some(value),
            _ => {}
        }
    }
    let (id, key) = match (id, key) {
        (None, None) => return Ok(None),
        (Some(id), Some(key)) => (id, key),
        _ => return Err(Missing::wrong("the profile has only one half of a key")),
    };
    Ok(Some(Credentials {
        access_key_id: text(id)?.to_owned(),
        secret_access_key: secret(key)?,
        session_token: token.map(secret).transpose()?,
        expires: None,
    }))
}
