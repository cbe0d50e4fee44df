//! No copy of a key is left in the memory of the running program: read from outside, after a thousand mixed requests.
//!
//! Needs the right to read another process: `/proc/PID/mem` of a gateway that is not dumpable is root's alone.

mod forms;
#[path = "../it/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other suite uses the rest")]
mod harness;
mod huffman;
mod keys;
mod load;
mod over_h2;
mod report;
mod requests;
mod scan;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::time::sleep;

use crate::{
    harness::Options,
    load::Stage,
    report::{Report, classes},
    scan::{Found, Needles},
};

/// How long nothing happens before memory is read.
const IDLE: Duration = Duration::from_secs(2);

/// Everything that must not be found, and something that must.
async fn needles(stage: &Stage) -> Needles {
    let mut needles = Needles::default();
    let mut add = |class, key: &str| needles.add(class, forms::of_text(key.as_bytes()), load::common(key));
    stage.held.iter().for_each(|(_, _, key)| add("held", key));
    stage.carried.iter().for_each(|(_, key)| add("carried", key));
    stage.session.iter().for_each(|(_, key)| add("session", key));
    stage.sealed.iter().for_each(|(_, key)| add("sealed", key));
    stage.once.iter().for_each(|key| add("rotated", key));
    stage.platform.iter().for_each(|(_, key)| add("platform", key));
    needles.add("session", forms::of_key(&requests::SESSION_KEY), 0);
    for known in keys::all(&stage.gateway.dir().join("data")).await {
        needles.add(known.class, forms::of_key(&known.bytes), 0);
    }
    needles.add("control", forms::of_text(stage.marker.as_bytes()), 0);
    needles
}

struct Run {
    stage: Arc<Stage>,
    needles: Arc<Needles>,
    /// Connections of clients that wait for nothing.
    open: Vec<Box<dyn Send>>,
    /// What was there while requests ran.
    during: Vec<Found>,
}

impl Run {
    async fn of(options: Options, tls: Option<Arc<ServerConfig>>, requests: usize, keys: usize) -> Self {
        let play = async |stage: &Arc<Stage>| {
            let open = stage.play(requests, 32).await;
            open.into_iter().map(|one| Box::new(one) as Box<dyn Send>).collect()
        };
        Self::with(options, tls, keys, play).await
    }

    async fn with(
        options: Options,
        tls: Option<Arc<ServerConfig>>,
        keys: usize,
        play: impl AsyncFnOnce(&Arc<Stage>) -> Vec<Box<dyn Send>>,
    ) -> Self {
        let mut stage = Stage::set(options, tls, keys).await;
        stage.manage().await;
        let needles = Arc::new(needles(&stage).await);
        let stage = Arc::new(stage);
        let playing = Arc::new(AtomicBool::new(true));
        let sampling = {
            let (needles, playing, pid) = (Arc::clone(&needles), Arc::clone(&playing), stage.gateway.pid());
            tokio::task::spawn_blocking(move || {
                let mut during = Vec::new();
                while playing.load(Ordering::Relaxed) {
                    let Ok(found) = needles.sample(pid) else { break };
                    during.push(found);
                }
                during
            })
        };
        let before = stage.provider.count();
        let open = play(&stage).await;
        playing.store(false, Ordering::Relaxed);
        let during = sampling.await.expect("it reads");
        assert!(stage.provider.count() > before + 100, "the provider was asked");
        for (provider, key) in &stage.platform {
            let went =
                stage.provider.seen().iter().filter(|seen| load::credential(seen).ends_with(key)).count();
            assert!(went > 2, "the platform's key for {provider} went out {went} times");
        }
        Self { stage, needles, open, during }
    }

    async fn scan(&self) -> Found {
        sleep(IDLE).await;
        let found =
            self.needles.scan(self.stage.gateway.pid()).expect("the memory can be read: are you root?");
        assert!(found.count("control").0 > 0, "what is there is not found");
        assert!(found.read * 100 >= found.resident * 99, "read {} of {}", found.read, found.resident);
        found
    }

    /// With the clients' connections open, and after they are closed.
    async fn both(mut self, name: &str) -> (Found, Found) {
        let open = self.scan().await;
        self.open.clear();
        let closed = self.scan().await;
        Report::new(name, self.needles.len(), &self.during, &open, &closed).show_and_write();
        (open, closed)
    }
}

/// Not one copy of anything, clients connected or not.
#[track_caller]
fn assert_none(found: &Found) {
    for class in classes() {
        assert_eq!(found.count(class).0, 0, "{class}: {:#?}", found.places());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_200_keys_after_1000_mixed_requests() {
    let run = Run::of(binary(), None, 1_000, 100).await;
    let (open, closed) = run.both("plain").await;
    assert_none(&open);
    assert_none(&closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_where_the_provider_speaks_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, pem) = authority();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, pem).expect("a file");
    let options = binary().upstream(&format!("extra_ca: {}", ca.display()));
    let run = Run::of(options, Some(config), 400, 100).await;
    let (open, closed) = run.both("tls").await;
    assert_none(&open);
    assert_none(&closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_requests_over_http2() {
    let play = async |stage: &Arc<Stage>| {
        let open = over_h2::play(stage, 300, 8).await;
        open.into_iter().map(|one| Box::new(one) as Box<dyn Send>).collect()
    };
    let run = Run::with(binary(), None, 50, play).await;
    let (open, closed) = run.both("http2").await;
    assert_none(&open);
    assert_none(&closed);
}

/// The same program on the heap as it is leaves copies: so the scan would find them.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_wiping_heap_there_are_copies() {
    let mut plain = std::env::current_exe().expect("this program");
    plain.pop();
    plain.pop();
    plain.push("examples/plain_heap");
    assert!(plain.exists(), "build it first: cargo build -p keyferry --example plain_heap");
    let run = Run::of(options(Some(plain)), None, 400, 100).await;
    let needles = Arc::clone(&run.needles);
    let (open, _) = run.both("control").await;
    let copies: usize = classes().iter().map(|class| open.count(class).0).sum();
    assert!(copies > 0);
    // Keys of every kind are found where they are not locked: here, where they were derived.
    let here = needles.scan(std::process::id()).expect("our own memory");
    for class in classes() {
        assert!(here.count(class).0 > 0, "{class}");
    }
}

/// The program of this build, or the one that `KEYFERRY_BIN` names.
fn binary() -> Options {
    options(std::env::var_os("KEYFERRY_BIN").map(PathBuf::from))
}

#[expect(clippy::field_reassign_with_default, reason = "its other fields are private")]
fn options(binary: Option<PathBuf>) -> Options {
    let mut options = Options::default();
    options.binary = binary;
    options
}

/// A provider's side of TLS, and the authority to trust.
fn authority() -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let hosts = load::HOSTS.map(str::to_owned).to_vec();
    let mut params = CertificateParams::new(hosts).expect("names");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().expect("a key");
    let cert = params.signed_by(&key, &authority).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .expect("a certificate");
    (Arc::new(config), authority.pem())
}
