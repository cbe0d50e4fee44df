//! Where a Redis is, and what to show it: read from its URL once, and never shown again.
//!
//! `redis://[user:password@]host[:port][/db]`, `rediss://…` for TLS, and `unix://[user:password@]/path[?db=n]`, also
//! written `redis+unix://`. Names and passwords are percent-encoded.

use std::{path::PathBuf, str};

use keyferry_envelope::SecretBytes;
use zeroize::Zeroizing;

/// Why a text is no address of a Redis. It never quotes the text: a password may be anywhere in it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RedisAddressError {
    /// Another scheme, or none.
    #[error("expected `redis://`, `rediss://` or `unix://`")]
    Scheme,
    /// The host is missing or is none.
    #[error("expected a host name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// The port is none.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// The database is none.
    #[error("the database is not a number from 0 to 65535")]
    Database,
    /// The socket's path is relative.
    #[error("the path of the socket must be absolute")]
    Path,
    /// A name or password is not encoded as it must be.
    #[error("the user or password is not percent-encoded")]
    Encoding,
    /// There is something behind the database.
    #[error("there is more in the URL than this gateway knows of")]
    Unknown,
}

/// Where a Redis is.
pub struct RedisAddress {
    pub(super) place: Place,
    pub(super) login: Option<Login>,
    pub(super) db: u16,
}

/// How it is reached.
pub(super) enum Place {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

/// What proves the gateway.
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: SecretBytes,
}

impl RedisAddress {
    /// Takes a URL apart.
    pub fn read(url: &str) -> Result<Self, RedisAddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisAddressError::Scheme)?;
        match scheme {
            "redis" => Self::tcp(rest, false),
            "rediss" => Self::tcp(rest, true),
            "unix" | "redis+unix" => Self::unix(rest),
            _ => Err(RedisAddressError::Scheme),
        }
    }

    /// The port that is connected to; `None` for a socket.
    pub fn port(&self) -> Option<u16> {
        match self.place {
            Place::Tcp { port, .. } => Some(port),
            Place::Unix(_) => None,
        }
    }

    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.place, Place::Tcp { tls: true, .. })
    }

    fn tcp(rest: &str, tls: bool) -> Result<Self, RedisAddressError> {
        if rest.contains(['?', '#']) {
            return Err(RedisAddressError::Unknown);
        }
        let (authority, db) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, authority) = split_login(authority)?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(inside) => {
                let (host, port) = inside.split_once(']').ok_or(RedisAddressError::Host)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| RedisAddressError::Host)?;
                match (port, port.strip_prefix(':')) {
                    ("", _) => (host, None),
                    (_, Some(port)) => (host, Some(port)),
                    _ => return Err(RedisAddressError::Port),
                }
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(RedisAddressError::Host);
        }
        let port = match port {
            None => 6379,
            Some(port) => number(port).filter(|&port| port > 0).ok_or(RedisAddressError::Port)?,
        };
        let place = Place::Tcp { host: host.to_owned(), port, tls };
        Ok(Self { place, login, db: database(db)? })
    }

    fn unix(rest: &str) -> Result<Self, RedisAddressError> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, path) = match rest.split_once('/') {
            Some(("", _)) => (None, rest),
            Some((before, _)) => {
                let (login, host) = split_login(before)?;
                if login.is_none() || !host.is_empty() {
                    return Err(RedisAddressError::Path);
                }
                (login, &rest[before.len()..])
            }
            None => return Err(RedisAddressError::Path),
        };
        let db = match query {
            "" => "",
            query => query.strip_prefix("db=").ok_or(RedisAddressError::Unknown)?,
        };
        Ok(Self { place: Place::Unix(PathBuf::from(path)), login, db: database(db)? })
    }
}

/// `user:password@`, and what comes behind it.
fn split_login(authority: &str) -> Result<(Option<Login>, &str), RedisAddressError> {
    let Some((login, rest)) = authority.rsplit_once('@') else { return Ok((None, authority)) };
    let (user, password) = login.split_once(':').ok_or(RedisAddressError::Encoding)?;
    let user = match decoded(user)? {
        empty if empty.is_empty() => None,
        user => Some(str::from_utf8(&user).map_err(|_| RedisAddressError::Encoding)?.to_owned()),
    };
    let password = SecretBytes::copy_of(&decoded(password)?);
    Ok((Some(Login { user, password }), rest))
}

/// Percent-decoded, in a buffer that does not move.
fn decoded(text: &str) -> Result<Zeroizing<Vec<u8>>, RedisAddressError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(RedisAddressError::Encoding) };
        bytes.push((high * 16 + low) as u8);
    }
    Ok(bytes)
}

fn database(text: &str) -> Result<u16, RedisAddressError> {
    if text.is_empty() { Ok(0) } else { number(text).ok_or(RedisAddressError::Database) }
}

fn number(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Place, user, password and database in one line.
    fn parts(url: &str) -> String {
        let address = RedisAddress::read(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let place = match address.place {
            Place::Tcp { host, port, tls } => format!("{} {host} {port}", if tls { "tls" } else { "tcp" }),
            Place::Unix(path) => format!("unix {}", path.display()),
        };
        let login = address.login.map_or("nobody".to_owned(), |login| {
            let password = str::from_utf8(login.password.expose()).expect("text").to_owned();
            format!("{} with {password}", login.user.as_deref().unwrap_or("anybody"))
        });
        format!("{place}, {login}, {}", address.db)
    }

    #[test]
    fn a_url_says_where_who_and_which_database() {
        for (url, expected) in [
            ("redis://localhost", "tcp localhost 6379, nobody, 0"),
            ("redis://10.0.0.7:7000/", "tcp 10.0.0.7 7000, nobody, 0"),
            ("rediss://:pass@cache.example:7001/15", "tls cache.example 7001, anybody with pass, 15"),
            ("redis://kf:p%40s%3as%2F@[::1]:7000/2", "tcp ::1 7000, kf with p@s:s/, 2"),
            ("redis://kf:a@b:c@host", "tcp host 6379, kf with a@b:c, 0"),
            ("unix:///run/redis.sock", "unix /run/redis.sock, nobody, 0"),
            ("redis+unix:///run/redis.sock?db=3", "unix /run/redis.sock, nobody, 3"),
            ("unix://kf:p%20q@/run/redis.sock", "unix /run/redis.sock, kf with p q, 0"),
        ] {
            assert_eq!(parts(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_and_not_quoted() {
        use RedisAddressError as Why;
        for (url, why) in [
            ("memory", Why::Scheme),
            ("http://hunter2", Why::Scheme),
            ("redis://", Why::Host),
            ("redis://ho st", Why::Host),
            ("redis://[hunter2]", Why::Host),
            ("redis://host:0", Why::Port),
            ("redis://host:hunter2", Why::Port),
            ("redis://[::1]7000", Why::Port),
            ("redis://host/hunter2", Why::Database),
            ("redis://host/70000", Why::Database),
            ("redis://host/1?x=hunter2", Why::Unknown),
            ("redis://hunter2@host", Why::Encoding),
            ("redis://:hunter2%4@host", Why::Encoding),
            ("unix://run/redis.sock", Why::Path),
            ("unix://redis.sock", Why::Path),
            ("unix:///run/redis.sock?password=hunter2", Why::Unknown),
        ] {
            let Err(error) = RedisAddress::read(url) else { panic!("{url}") };
            assert_eq!(error, why, "{url}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
