//! Where a database is, and how much must be known of it before it gets the password.

use std::{net::IpAddr, path::PathBuf};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::store::NotAStore;

/// The parameters of a URL that have a meaning here. Limits are set by the program, so `options` is none.
const PARAMETERS: [&str; 10] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "statement-cache-capacity",
];

/// A database, and who asks it. It holds a password: it cannot be shown.
pub struct Address {
    pub(crate) options: PgConnectOptions,
    files: Vec<PathBuf>,
}

impl Address {
    /// Reads `postgres://USER:PASSWORD@HOST/DATABASE?PARAMETER=…`. Without `sslmode`, a server that is
    /// not on this machine must prove that it is the host of the URL.
    pub fn parse(url: &str) -> Result<Self, NotAStore> {
        let (_, query) = url.split_once('?').unwrap_or((url, ""));
        let names = query.split('&').filter(|pair| !pair.is_empty());
        let names: Vec<_> = names.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name)).collect();
        if url.contains('#') {
            return Err(NotAStore::Url);
        }
        if names.iter().any(|name| !PARAMETERS.contains(name)) {
            return Err(NotAStore::Parameter);
        }
        // What the driver says of a URL may quote it.
        let options: PgConnectOptions = url.parse().map_err(|_| NotAStore::Url)?;
        let options = options.application_name("keyferry");
        let options = if names.contains(&"sslmode") {
            options
        } else if is_local(&options) {
            options.ssl_mode(PgSslMode::Prefer)
        } else {
            // The driver's `prefer` encrypts for whoever answers, or not at all if that one says so: good
            // enough where the way is inside this machine, not for a password on a network.
            options.ssl_mode(PgSslMode::VerifyFull)
        };
        if matches!(options.get_ssl_mode(), PgSslMode::Allow) {
            // The driver takes it for `disable`.
            return Err(NotAStore::SslMode);
        }
        let file = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            let is_file = matches!(name, "sslrootcert" | "sslcert" | "sslkey");
            is_file.then(|| PathBuf::from(value.replace("%2F", "/").replace("%2f", "/")))
        };
        let files = query.split('&').filter_map(file).collect();
        Ok(Self { options, files })
    }

    /// The port that is connected to.
    pub fn port(&self) -> u16 {
        self.options.get_port()
    }

    /// Certificates and keys that are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> String {
        let address = Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        format!("{:?}", address.options.get_ssl_mode())
    }

    #[test]
    fn a_server_on_a_network_proves_who_it_is_unless_the_url_says_otherwise() {
        for (url, wanted) in [
            ("postgres://u:p@db.example/keyferry", "VerifyFull"),
            ("postgresql://u:p@10.0.0.1:5433/keyferry", "VerifyFull"),
            ("postgres://u:p@[2001:db8::1]/keyferry", "VerifyFull"),
            ("postgres://localhost.example/keyferry", "VerifyFull"),
            ("postgres://u:p@localhost/keyferry?host=db.example", "VerifyFull"),
            ("postgres://u:p@db.example/keyferry?sslmode=require", "Require"),
            ("postgres://u:p@db.example/keyferry?sslmode=disable", "Disable"),
            ("postgres://u:p@localhost/keyferry", "Prefer"),
            ("postgres://u:p@127.0.0.1/keyferry", "Prefer"),
            ("postgres://u:p@[::1]/keyferry", "Prefer"),
            ("postgres:///keyferry?user=u&host=/run/postgresql", "Prefer"),
            ("postgres://u@%2Frun%2Fpostgresql/keyferry", "Prefer"),
            ("postgres://u:p@localhost/keyferry?sslmode=verify-full", "VerifyFull"),
        ] {
            assert_eq!(mode(url), wanted, "{url}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_quoted() {
        for url in [
            "postgres://u:hush@db.example/keyferry?sslmod=disable",
            "postgres://u:hush@db.example/keyferry?options=-c%20statement_timeout%3D0",
            "postgres://u:hush@db.example/keyferry?sslmode=allow",
            "postgres://u:hush@db.example/keyferry?sslmode=hush",
            "postgres://u:hush@db.example:port/keyferry",
            "postgres://u:hush@db.example/keyferry?hush",
            "postgres://u:hush@db.example/keyferry?sslmode=require#hush",
        ] {
            let Err(error) = Address::parse(url) else { panic!("{url} is accepted") };
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
