//! Where a Transit key is: its name, and the paths that lead to it.

use http::HeaderValue;

use super::VaultConfigError;
use crate::VaultConfig;

/// The parts of a configuration that name the key, judged.
pub(super) struct Place {
    namespace: Option<HeaderValue>,
    /// Namespace, mount and key as the server itself would join them.
    whole: String,
    encrypt: String,
    decrypt: String,
}

impl Place {
    pub(super) fn new(config: &VaultConfig) -> Result<Self, VaultConfigError> {
        let mount = config.mount.trim_matches('/');
        let key = config.key.as_str();
        if !is_path(mount) {
            return Err(VaultConfigError::Mount);
        }
        if !is_segment(key) {
            return Err(VaultConfigError::Key);
        }
        let namespace = config.namespace.as_deref().map(|namespace| namespace.trim_matches('/'));
        let mut whole = format!("{mount}/{key}");
        let namespace = match namespace {
            None | Some("root") => None,
            Some(namespace) if is_path(namespace) => {
                whole = format!("{namespace}/{whole}");
                Some(HeaderValue::from_str(namespace).map_err(|_| VaultConfigError::Namespace)?)
            }
            Some(_) => return Err(VaultConfigError::Namespace),
        };
        Ok(Self {
            namespace,
            whole,
            encrypt: format!("/v1/{mount}/encrypt/{key}"),
            decrypt: format!("/v1/{mount}/decrypt/{key}"),
        })
    }

    /// The root's name. The address is not in it: replicas may reach one server by several.
    pub(super) fn id(&self) -> String {
        format!("vault:{}", self.whole)
    }

    pub(super) const fn namespace(&self) -> Option<&HeaderValue> {
        self.namespace.as_ref()
    }

    pub(super) fn encrypt(&self) -> &str {
        &self.encrypt
    }

    pub(super) fn decrypt(&self) -> &str {
        &self.decrypt
    }
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_segment)
}

/// No dots alone: a server in between could take them for steps up.
fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && !segment.bytes().all(|byte| byte == b'.')
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(namespace: Option<&str>, mount: &str, key: &str) -> Result<Place, VaultConfigError> {
        Place::new(&VaultConfig {
            address: String::new(),
            mount: mount.to_owned(),
            key: key.to_owned(),
            token_file: std::path::PathBuf::new(),
            namespace: namespace.map(str::to_owned),
            ca: None,
        })
    }

    #[test]
    fn the_name_is_where_the_server_has_the_key() {
        let id = |namespace, mount| place(namespace, mount, "kek").map(|place| place.id()).expect("a place");
        assert_eq!(id(None, "transit"), "vault:transit/kek");
        assert_eq!(id(None, "/secrets/transit/"), "vault:secrets/transit/kek");
        assert_eq!(id(Some("team/a/"), "transit"), "vault:team/a/transit/kek");
        assert_eq!(id(Some("root"), "transit"), "vault:transit/kek");
    }

    #[test]
    fn nothing_in_a_name_leads_elsewhere() {
        for bad in ["", "..", "a/../b", "a//b", "a?b", "a#b", "a b", "a%2fb", "\u{e9}"] {
            assert!(matches!(place(None, bad, "kek"), Err(VaultConfigError::Mount)), "{bad}");
            assert!(matches!(place(None, "transit", bad), Err(VaultConfigError::Key)), "{bad}");
            assert!(matches!(place(Some(bad), "transit", "kek"), Err(VaultConfigError::Namespace)), "{bad}");
        }
        assert!(matches!(place(None, "transit", "a/b"), Err(VaultConfigError::Key)));
    }
}
