//! TLS to a provider: without proof of its name, not a byte of a key leaves.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, date_time_ymd,
};
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    harness::{Answer, Gateway, Options, Provider, Reply, Tenant, a_key, request},
    ingress::UNLIMITED,
};

const HOST: &str = "api.openai.com";

/// A certificate authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

fn named(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names.
    fn issue(&self, names: &[&str]) -> Chain {
        self.issue_with(names, |_| ())
    }

    fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Chain {
        let (params, key) = leaf(names, change);
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        (vec![cert.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn leaf(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = named("a provider");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    (params, KeyPair::generate().expect("a key"))
}

fn self_signed(names: &[&str]) -> Chain {
    let (params, key) = leaf(names, |_| ());
    let cert = params.self_signed(&key).expect("a certificate");
    (vec![cert.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

fn server(chain: Chain, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.0, chain.1)
        .expect("a certificate");
    Arc::new(config)
}

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];

/// A gateway that trusts one more authority and dials a host at an address of this machine.
struct Scene {
    gateway: Gateway,
    tenant: Tenant,
    key: String,
    _folder: TempDir,
}

impl Scene {
    async fn to(address: SocketAddr, trusted: &Authority, change: impl FnOnce(Options) -> Options) -> Self {
        let (folder, ca) = pem_file(trusted);
        let options = Options::default()
            .dial(HOST, address, false)
            .upstream(&format!("extra_ca: {}", ca.display()))
            .yaml(UNLIMITED);
        let gateway = Gateway::start(change(options)).await;
        let key = a_key("sk-proj-");
        let tenant = gateway.tenant_with_key("openai", &key).await;
        Self { gateway, tenant, key, _folder: folder }
    }

    /// One call with the stored key and one with a carried one.
    async fn calls(&self) -> [Reply; 2] {
        let carried = a_key("sk-proj-");
        let stored = self.gateway.chat(&self.tenant.caller_token).await;
        let headers =
            [("x-keyferry-token", self.tenant.caller_token.as_str()), ("x-byok-key", carried.as_str())];
        let url = format!("{}/openai/v1/chat/completions", self.gateway.url());
        [stored, request("POST", &url, &headers, b"{}").await]
    }

    #[track_caller]
    fn assert_refused(replies: [Reply; 2]) {
        for reply in replies {
            let reply = reply.refused(502, "BYOK_UPSTREAM_ERROR");
            assert!(!reply.text().contains("127.0.0.1"), "{}", reply.text());
        }
    }
}

fn pem_file(authority: &Authority) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).expect("a file");
    (folder, path)
}

#[tokio::test]
async fn a_certificate_for_the_host_carries_the_key_end_to_end() {
    let authority = Authority::new("test authority");
    for versions in [BOTH, &[&version::TLS12], &[&version::TLS13]] {
        let mut config = server(authority.issue(&[HOST]), versions);
        Arc::get_mut(&mut config).expect("alone").alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let provider = Provider::start_tls(config, Answer::right).await;
        let scene = Scene::to(provider.address, &authority, |options| options).await;
        for reply in scene.calls().await {
            reply.expect(200);
        }
        let seen = provider.seen();
        assert_eq!(seen[0].header("authorization"), format!("Bearer {}", scene.key));
        assert_eq!((seen.len(), seen[0].header("host")), (2, HOST));
    }
    let wild = Provider::start_tls(server(authority.issue(&["*.openai.com"]), BOTH), Answer::right).await;
    let scene = Scene::to(wild.address, &authority, |options| options).await;
    for reply in scene.calls().await {
        reply.expect(200);
    }
}

/// A server behind TLS that answers well and writes down every byte it can read: below TLS and within.
struct Listening {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    /// What came over TCP.
    raw: Vec<u8>,
    /// What came inside of TLS.
    inside: Vec<u8>,
    /// The names in the greetings.
    names: Vec<Option<String>>,
    connections: usize,
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().expect("not poisoned")
}

impl Listening {
    async fn start(config: Option<Arc<ServerConfig>>, first: &'static [u8]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let server = Self { address: listener.local_addr().expect("bound"), heard: Arc::default() };
        let heard = Arc::clone(&server.heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                lock(&heard).connections += 1;
                tokio::spawn(listen(stream, config.clone(), first, Arc::clone(&heard)));
            }
        });
        server
    }

    /// Not a byte of any of these keys, nor of a request, was heard.
    #[track_caller]
    fn assert_heard_nothing(&self, key: &str) {
        let heard = lock(&self.heard);
        assert!(heard.connections > 0, "nobody even tried");
        assert_eq!(heard.inside, b"", "something was said after the handshake");
        for part in key.as_bytes().windows(6) {
            assert!(!heard.raw.windows(6).any(|window| window == part), "a piece of the key was heard");
        }
        for word in ["HTTP/1.1", "authorization", "Bearer"] {
            assert!(
                !heard.raw.windows(word.len()).any(|window| window == word.as_bytes()),
                "{word} was heard"
            );
        }
    }
}

async fn listen(
    mut stream: TcpStream,
    config: Option<Arc<ServerConfig>>,
    first: &'static [u8],
    heard: Arc<Mutex<Heard>>,
) {
    let mut space = vec![0; 16 * 1024];
    let Some(config) = config else {
        // Speaks at once, whatever it hears.
        let _ = stream.write_all(first).await;
        while let Ok(length @ 1..) = stream.read(&mut space).await {
            lock(&heard).raw.extend_from_slice(&space[..length]);
            let _ = stream.write_all(first).await;
        }
        return;
    };
    let recording = Recording { stream, heard: Arc::clone(&heard) };
    let Ok(mut tls) = TlsAcceptor::from(config).accept(recording).await else { return };
    lock(&heard).names.push(tls.get_ref().1.server_name().map(str::to_owned));
    while let Ok(length @ 1..) = tls.read(&mut space).await {
        lock(&heard).inside.extend_from_slice(&space[..length]);
        let _ = tls
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            .await;
    }
}

/// A connection of which every byte read is written down.
struct Recording {
    stream: TcpStream,
    heard: Arc<Mutex<Heard>>,
}

mod recording {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll, ready},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::{Recording, lock};

    impl AsyncRead for Recording {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            lock(&self.heard).raw.extend_from_slice(&buf.filled()[before..]);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Recording {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}

#[tokio::test]
async fn the_recording_server_hears_what_a_trusted_one_is_told() {
    // The control: were anything said to the servers below, they would hear it.
    let authority = Authority::new("test authority");
    let server = Listening::start(Some(server(authority.issue(&[HOST]), BOTH)), b"").await;
    let scene = Scene::to(server.address, &authority, |options| options).await;
    for reply in scene.calls().await {
        reply.expect(200);
    }
    let heard = lock(&server.heard);
    assert!(String::from_utf8_lossy(&heard.inside).contains(&scene.key), "the key came inside of TLS");
    assert!(!String::from_utf8_lossy(&heard.raw).contains(&scene.key), "and not outside of it");
    assert!(heard.names.iter().all(|name| name.as_deref() == Some(HOST)), "{:?}", heard.names);
}

#[tokio::test]
async fn a_server_without_proof_of_the_name_hears_not_a_byte_of_a_key() {
    let authority = Authority::new("test authority");
    let unknown = Authority::new("unknown authority");
    // The same name, another key.
    let impostor = Authority::new("test authority");
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    };
    let early = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    };
    let for_clients = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let only_common_name = |params: &mut CertificateParams| params.distinguished_name = named(HOST);
    let cases = [
        ("another name", authority.issue(&["api.anthropic.com"])),
        ("a longer name", authority.issue(&["api.openai.com.evil.example"])),
        ("a shorter name", authority.issue(&["openai.com"])),
        ("a wildcard of another level", authority.issue(&["*.api.openai.com", "*.com"])),
        ("the address it was dialled at", authority.issue(&["127.0.0.1", "localhost"])),
        ("only a common name", authority.issue_with(&[], only_common_name)),
        ("expired", authority.issue_with(&[HOST], expired)),
        ("not yet valid", authority.issue_with(&[HOST], early)),
        ("not for servers", authority.issue_with(&[HOST], for_clients)),
        ("self-signed", self_signed(&[HOST])),
        ("an unknown authority", unknown.issue(&[HOST])),
        ("an impostor of the authority", impostor.issue(&[HOST])),
    ];
    for (name, chain) in cases {
        for versions in [BOTH, &[&version::TLS12]] {
            let chain = (chain.0.clone(), chain.1.clone_key());
            let server = Listening::start(Some(server(chain, versions)), b"").await;
            let scene = Scene::to(server.address, &authority, |options| options).await;
            println!("{name}");
            Scene::assert_refused(scene.calls().await);
            server.assert_heard_nothing(&scene.key);
        }
    }
}

/// The answer of a server that chose TLS 1.1: a `ServerHello` with an old cipher suite.
const TLS_1_1: &[u8] = &{
    let mut hello = [0_u8; 47];
    let start = [22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    let mut at = 0;
    while at < start.len() {
        hello[at] = start[at];
        at += 1;
    }
    // 32 random bytes, no session, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
    while at < 43 {
        hello[at] = 7;
        at += 1;
    }
    hello[44] = 0xc0;
    hello[45] = 0x13;
    hello
};

#[tokio::test]
async fn a_server_that_speaks_old_tls_or_none_hears_not_a_byte_of_a_key() {
    let authority = Authority::new("test authority");
    let cases: [(&str, &[u8]); 6] = [
        ("TLS 1.1", TLS_1_1),
        ("plain HTTP", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
        ("a fatal alert", &[21, 3, 1, 0, 2, 2, 40]),
        ("a warning that the name is unknown, and no more", &[21, 3, 3, 0, 2, 1, 112]),
        ("SSL 3", &[22, 3, 0, 0, 4, 2, 0, 0, 0]),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ];
    for (name, first) in cases {
        let server = Listening::start(None, first).await;
        let scene = Scene::to(server.address, &authority, |options| options).await;
        println!("{name}");
        for reply in scene.calls().await {
            assert!(matches!(reply.status(), 502 | 504), "{name}: {} {}", reply.status(), reply.text());
        }
        server.assert_heard_nothing(&scene.key);
    }
}

#[tokio::test]
async fn without_the_extra_authority_even_the_right_name_is_not_enough() {
    let authority = Authority::new("test authority");
    let (_folder, evil) = pem_file(&authority);
    let evil = evil.display().to_string();
    let folder_of_certs = std::path::Path::new(&evil).parent().expect("a folder").display().to_string();
    let server = Listening::start(Some(server(authority.issue(&[HOST]), BOTH)), b"").await;
    // Trusts another authority; the environment names the one of the server.
    let other = Authority::new("another authority");
    let scene = Scene::to(server.address, &other, |options| {
        ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE"]
            .into_iter()
            .fold(options, |options, name| options.env(name, &evil))
            .env("SSL_CERT_DIR", &folder_of_certs)
            .env("SSLKEYLOGFILE", &format!("{folder_of_certs}/keys.log"))
    })
    .await;
    Scene::assert_refused(scene.calls().await);
    server.assert_heard_nothing(&scene.key);
    assert!(
        !std::path::Path::new(&format!("{folder_of_certs}/keys.log")).exists(),
        "session keys were logged"
    );
}

#[tokio::test]
async fn proxies_in_the_environment_are_ignored() {
    let authority = Authority::new("test authority");
    let proxy = Listening::start(None, b"HTTP/1.1 200 Connection established\r\n\r\n").await;
    let provider = Provider::start_tls(server(authority.issue(&[HOST]), BOTH), Answer::right).await;
    let (http, socks) = (format!("http://{}", proxy.address), format!("socks5h://{}", proxy.address));
    let scene = Scene::to(provider.address, &authority, |options| {
        let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];
        let options = names.into_iter().fold(options, |options, name| options.env(name, &http));
        let options =
            ["ALL_PROXY", "all_proxy"].into_iter().fold(options, |options, name| options.env(name, &socks));
        options.env("NO_PROXY", "").env("no_proxy", "")
    })
    .await;
    for reply in scene.calls().await {
        reply.expect(200);
    }
    assert_eq!(provider.count(), 2);
    assert_eq!(lock(&proxy.heard).connections, 0, "a proxy was called");
}

#[tokio::test]
async fn over_tls_a_redirect_is_refused_too() {
    let authority = Authority::new("test authority");
    let elsewhere = Listening::start(Some(server(authority.issue(&[HOST]), BOTH)), b"").await;
    let location = format!("https://{}/v1/chat/completions", elsewhere.address);
    let config = server(authority.issue(&[HOST]), BOTH);
    let provider = Provider::start_tls(config, move |_| Answer::redirect(308, &location)).await;
    let scene = Scene::to(provider.address, &authority, |options| options).await;
    for reply in scene.calls().await {
        reply.refused(502, "BYOK_REDIRECT_REJECTED");
    }
    assert_eq!(provider.count(), 2);
    assert_eq!(lock(&elsewhere.heard).connections, 0, "the redirect was followed");
}

#[tokio::test]
async fn a_private_link_to_a_wrong_server_is_no_way_around_the_name() {
    // The address that stands for one host serves another one's certificate: a mistake in `upstream.dial`.
    let authority = Authority::new("test authority");
    let server = Listening::start(Some(server(authority.issue(&["api.anthropic.com"]), BOTH)), b"").await;
    let address = server.address;
    let scene =
        Scene::to(address, &authority, |options| options.dial("api.anthropic.com", address, false)).await;
    Scene::assert_refused(scene.calls().await);
    server.assert_heard_nothing(&scene.key);
    let key = a_key("sk-ant-api03-");
    scene.gateway.store(&scene.tenant.id, "anthropic", &key).await;
    let headers = [("x-api-key", scene.tenant.caller_token.as_str())];
    let url = format!("{}/anthropic/v1/messages", scene.gateway.url());
    request("POST", &url, &headers, b"{}").await.expect(200);
    assert!(String::from_utf8_lossy(&lock(&server.heard).inside).contains(&key));
}
