//! Which servers are trusted.

use std::{fs, time::Duration};

use keyferry_core::port::counter::Counters;
use keyferry_storage::counter::{RedisAddress, RedisClock, RedisCounters, RedisError};
use keyferry_storage_testing::redis::RedisServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::time::sleep;

use crate::stage::{Request, is_taken, open, tenant, time_of, try_open};

async fn refusal(url: &str) -> RedisError {
    match try_open(url, None).await {
        Ok(_) => panic!("it was trusted"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_server_that_may_drop_keys_is_refused_with_what_to_set() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let Some(server) = RedisServer::with("evicting", &["--maxmemory-policy", policy]) else { return };
        let error = refusal(&server.url(0)).await;
        assert_eq!(error, RedisError::Policy);
        assert!(error.to_string().contains("maxmemory-policy noeviction"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_quoted() {
    let Some(server) = RedisServer::with("password", &["--requirepass", "right horse"]) else { return };
    let url = |login: &str| format!("unix://{login}{}", server.socket().display());
    assert_eq!(refusal(&url("")).await, RedisError::NoLogin);
    for login in [":wrong%20horse@", "somebody:right%20horse@"] {
        let error = refusal(&url(login)).await;
        assert_eq!(error, RedisError::Login);
        assert!(!format!("{error} {error:?}").contains("horse"));
    }
    open(&url(":right%20horse@"), None).await.ping().await.expect("answers");
    open(&url("default:right%20horse@"), None).await.ping().await.expect("answers");
}

/// What a careful operator grants is enough: only our keys, and nothing that rules the server.
#[tokio::test]
async fn a_user_with_few_rights_is_enough() {
    let grants =
        "kf on >secret ~kf:* -@all +@read +@write +@scripting +time +info +select +auth -flushall -keys";
    let options: Vec<&str> = ["--user"].into_iter().chain(grants.split(' ')).collect();
    let Some(server) = RedisServer::with("few rights", &options) else { return };
    let counters = open(&format!("unix://kf:secret@{}?db=1", server.socket().display()), None).await;
    let tenant = tenant(1);
    let request = Request::of(&tenant, time_of(&server)).with_claim(1);
    assert!(is_taken(&request.decide(&counters).await));

    let options = ["--user", "kf", "on", ">secret", "~other:*", "+@all"];
    let Some(server) = RedisServer::with("other rights", &options) else { return };
    let url = format!("unix://kf:secret@{}", server.socket().display());
    assert_eq!(refusal(&url).await, RedisError::Permission);
}

#[tokio::test]
async fn a_replica_is_refused() {
    let Some(server) = RedisServer::with("replica", &["--replicaof", "127.0.0.1", "1"]) else { return };
    assert_eq!(refusal(&server.url(0)).await, RedisError::Replica);
}

#[tokio::test]
async fn a_node_of_a_cluster_is_refused() {
    let Some(server) = RedisServer::on_a_port("cluster", &["--cluster-enabled", "yes"]) else { return };
    assert_eq!(refusal(&server.url(0)).await, RedisError::Cluster);
}

#[tokio::test]
async fn a_server_that_comes_late_is_waited_for() {
    let Some(server) = RedisServer::start("late") else { return };
    server.kill();
    let url = server.url(0);
    let (opened, ()) = tokio::join!(try_open(&url, None), async {
        sleep(Duration::from_millis(700)).await;
        server.start_again();
    });
    opened.expect("it came").ping().await.expect("answers");
}

/// An authority, and the certificate and key of a server in files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    fn certify(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn tls_is_for_the_name_by_the_authority_that_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let path = |name: &str| file(name).to_str().expect("text").to_owned();
    let (right, other) = (Authority::new(), Authority::new());
    let (certificate, key) = right.certify("localhost");
    for (name, content) in [
        ("ca.pem", right.issuer.pem()),
        ("other.pem", other.issuer.pem()),
        ("cert.pem", certificate),
        ("key.pem", key),
    ] {
        fs::write(file(name), content).expect("written");
    }
    fs::write(file("empty.pem"), "no certificate").expect("written");
    let (cert, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let options = [
        "--port",
        "0",
        "--tls-port",
        "{port}",
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
    ];
    let Some(server) = RedisServer::on_a_port("TLS", &options) else { return };
    let open = async |host: &str, ca: Option<&str>| {
        let address = RedisAddress::read(&format!("rediss://{host}:{}/1", server.port())).expect("a URL");
        let ca = ca.map(file);
        RedisCounters::open(address, ca.as_deref(), None, RedisClock::Server).await
    };
    let why = async |host: &str, ca: Option<&str>| open(host, ca).await.err();

    open("localhost", Some("ca.pem")).await.expect("trusted").ping().await.expect("answers");
    assert_eq!(why("localhost", Some("other.pem")).await, Some(RedisError::Tls));
    assert_eq!(why("localhost", None).await, Some(RedisError::Tls), "no public authority vouches for it");
    assert_eq!(why("127.0.0.1", Some("ca.pem")).await, Some(RedisError::Tls), "it is not for this name");
    assert_eq!(why("localhost", Some("empty.pem")).await, Some(RedisError::Ca));
    assert_eq!(why("localhost", Some("missing.pem")).await, Some(RedisError::Ca));
    let plain = RedisAddress::read(&server.url(0)).expect("a URL");
    let refused = RedisCounters::open(plain, Some(&file("ca.pem")), None, RedisClock::Server).await;
    assert_eq!(refused.err(), Some(RedisError::CaWithoutTls));
}
