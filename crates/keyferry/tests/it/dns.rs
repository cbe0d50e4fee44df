//! Names: one address that must not be dialled condemns them all, and nothing but the name server is asked.

pub(crate) mod server;

use std::{
    io::Write,
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::{net::UdpSocket, time::Instant};

use self::server::{A, AAAA, NameServer, Zone, https};
use crate::{
    harness::{Connection, Gateway, Options, Reply, Tenant, a_key, command, connect, now, request},
    ingress::{UNLIMITED, cases::Expect, expected, vectors},
};

/// Counts the connections to a port of this machine that nobody should call.
struct Canary {
    port: u16,
    calls: Arc<AtomicUsize>,
}

impl Canary {
    fn open(address: &str) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let calls = Arc::new(AtomicUsize::new(0));
        let canary = Self { port: listener.local_addr().ok()?.port(), calls: Arc::clone(&calls) };
        std::thread::spawn(move || {
            while listener.accept().is_ok() {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        Some(canary)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// The port that a provider would be dialled at, on every loopback address; where binding it is allowed.
static HTTPS_PORT: LazyLock<Vec<Canary>> =
    LazyLock::new(|| ["0.0.0.0:443", "[::1]:443"].into_iter().filter_map(Canary::open).collect());

fn calls() -> usize {
    HTTPS_PORT.iter().map(Canary::calls).sum()
}

/// A gateway with a provider for each zone, `p0` at the first name and so on.
struct Scene {
    names: NameServer,
    hosts: Vec<String>,
    gateway: Gateway,
    tenant: Tenant,
    calls_before: usize,
}

impl Scene {
    async fn of(zones: Vec<Zone>) -> Self {
        Self::with(zones, |options| options).await
    }

    async fn with(zones: Vec<Zone>, change: impl FnOnce(Options) -> Options) -> Self {
        let hosts: Vec<String> = (0..zones.len()).map(|n| format!("llm-{n}.answers.example")).collect();
        let names = NameServer::start(hosts.iter().cloned().zip(zones).collect()).await;
        let providers: String = hosts
            .iter()
            .enumerate()
            .map(|(number, host)| {
                format!("  p{number}: {{kind: openai-compatible, base_url: \"https://{host}/v1\"}}\n")
            })
            .collect();
        let providers = format!("providers:\n{providers}");
        let options = Options::default()
            .upstream(&format!("nameservers: [\"{}\"]", names.address))
            .yaml(UNLIMITED)
            .yaml(&providers);
        let calls_before = calls();
        let gateway = Gateway::start(change(options)).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("sk-proj-")).await;
        Self { names, hosts, gateway, tenant, calls_before }
    }

    async fn ask(&self, number: usize) -> Reply {
        let key = a_key("sk-proj-");
        let headers = [("x-keyferry-token", self.tenant.caller_token.as_str()), ("x-byok-key", key.as_str())];
        let url = format!("{}/p{number}/v1/models", self.gateway.url());
        request("GET", &url, &headers, b"").await
    }

    /// Only these names were asked for, absolutely, and only for addresses; and nothing was dialled.
    #[track_caller]
    fn assert_nothing_dialled(&self) {
        for (name, kind) in self.names.asked() {
            assert!(self.hosts.contains(&name), "{name} was looked up");
            assert!(kind == A || kind == AAAA, "{name} was asked for records of type {kind}");
        }
        assert_eq!(calls(), self.calls_before, "an address of this machine was dialled");
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|text| text.as_str().expect("text")).collect()
}

/// A refusal of the address guard, or a name without an address.
#[track_caller]
fn assert_denied(what: &str, reply: &Reply, has_addresses: bool) {
    let expected = if has_addresses { (403, "BYOK_SSRF_BLOCKED") } else { (502, "BYOK_DNS_FAILED") };
    assert_eq!((reply.status(), reply.code().as_str()), expected, "{what}: {}", reply.text());
}

#[tokio::test]
async fn the_canary_sees_a_call() {
    for canary in HTTPS_PORT.iter() {
        assert_eq!(canary.port, 443);
    }
    let own = Canary::open("127.0.0.1:0").expect("a port");
    drop(connect(own.port).await);
    crate::harness::until("the canary counts", || async { (own.calls() == 1).then_some(()) }).await;
}

#[tokio::test]
async fn one_address_that_must_not_be_dialled_condemns_the_whole_answer() {
    let published: Vec<Value> =
        vectors("dns_answer").into_iter().filter(|case| expected(case) == Expect::Deny).collect();
    assert!(published.len() > 10, "the published cases are missing");
    let own = [
        vec!["0.0.0.0"],
        vec!["127.255.255.254"],
        vec!["10.0.0.1"],
        vec!["172.16.0.1"],
        vec!["192.168.1.1"],
        vec!["100.64.0.1"],
        vec!["100.100.100.200"],
        vec!["169.254.170.23"],
        vec!["192.0.0.192"],
        vec!["192.0.2.1"],
        vec!["198.18.0.1"],
        vec!["198.51.100.1"],
        vec!["203.0.113.1"],
        vec!["240.0.0.1"],
        vec!["239.1.1.1"],
        vec!["192.88.99.2"],
        vec!["::"],
        vec!["::127.0.0.1"],
        vec!["::ffff:0:127.0.0.1"],
        vec!["64:ff9b::a9fe:a9fe"],
        vec!["64:ff9b:1::1"],
        vec!["100::1"],
        vec!["2001::1"],
        vec!["2001:db8::1"],
        vec!["2002:7f00:1::"],
        vec!["3fff::1"],
        vec!["5f00::1"],
        vec!["fc00::1"],
        vec!["fd00:ec2::254"],
        vec!["fd20:ce::254"],
        vec!["fec0::1"],
        vec!["ff02::1"],
        vec!["4000::1"],
        vec!["104.18.7.192", "::1"],
        vec!["2606:4700::6812:7c0", "127.0.0.1"],
        vec!["104.18.7.192", "104.18.6.192", "2606:4700::6812:7c0", "fe80::1"],
        vec!["127.0.0.1", "127.0.0.2", "::1"],
    ];
    let zones = published.iter().map(|case| texts(&case["input"]["answers"])).chain(own.clone());
    let scene = Scene::of(zones.map(|addresses| Zone::of(&addresses)).collect()).await;
    for (number, case) in published.iter().enumerate() {
        let reply = scene.ask(number).await;
        assert_denied(&case["why"].to_string(), &reply, !texts(&case["input"]["answers"]).is_empty());
    }
    for (number, addresses) in own.iter().enumerate() {
        let reply = scene.ask(published.len() + number).await;
        assert_denied(&format!("{addresses:?}"), &reply, true);
        for address in addresses {
            assert!(
                !reply.text().contains(address),
                "the answer tells what the name resolved to: {}",
                reply.text()
            );
        }
    }
    scene.assert_nothing_dialled();
    let asked = scene.names.asked();
    assert!(
        asked.iter().any(|(_, kind)| *kind == A) && asked.iter().any(|(_, kind)| *kind == AAAA),
        "{asked:?}"
    );
    let metrics = request("GET", &format!("{}/metrics", scene.gateway.metrics_url()), &[], b"").await.text();
    assert!(metrics.contains("keyferry_egress_denied_total{provider=\"p"), "{metrics}");
}

#[tokio::test]
async fn a_name_that_turns_to_another_address_is_judged_at_each_lookup() {
    // Lookups that would be allowed are left out: the gateway would dial them, and this test stays on this machine.
    let cases: Vec<Value> =
        vectors("dns_rebind").into_iter().filter(|case| expected(case) == Expect::Deny).collect();
    let bad = |case: &Value| -> Vec<Vec<String>> {
        let lookups = case["input"]["lookups"].as_array().expect("lookups");
        let lists = lookups.iter().map(|list| texts(list).into_iter().map(str::to_owned).collect::<Vec<_>>());
        lists.filter(|list: &Vec<String>| !list.iter().all(|text| text.starts_with("104.18."))).collect()
    };
    let lists: Vec<Vec<Vec<String>>> = cases
        .iter()
        .map(bad)
        .chain([vec![vec!["127.0.0.1".to_owned()], vec!["10.0.0.1".to_owned()], vec!["::1".to_owned()]]])
        .collect();
    assert!(lists.iter().all(|lookups| !lookups.is_empty()), "a case without a bad lookup");
    let zones = lists.iter().map(|lookups| {
        let lookups: Vec<Vec<&str>> =
            lookups.iter().map(|list| list.iter().map(String::as_str).collect()).collect();
        Zone::in_turn(&lookups)
    });
    let scene = Scene::of(zones.collect()).await;
    for _ in 0..2 {
        for (number, lookups) in lists.iter().enumerate() {
            assert_denied(&format!("{lookups:?}"), &scene.ask(number).await, true);
        }
    }
    // Longer than the shortest time an answer is kept: asked and judged anew.
    let before = scene.names.asked().len();
    tokio::time::sleep(Duration::from_millis(5500)).await;
    assert_denied("after the answer's life", &scene.ask(lists.len() - 1).await, true);
    assert!(scene.names.asked().len() > before, "the name was not looked up again");
    scene.assert_nothing_dialled();
}

#[tokio::test]
async fn aliases_are_judged_by_where_they_lead() {
    let scene = Scene::of(vec![
        Zone::of(&["127.0.0.1"]).behind("localhost"),
        Zone::of(&["169.254.169.254"]).behind("metadata.google.internal"),
        Zone::of(&["::1", "127.0.0.1"]).behind("cdn.provider.example"),
        Zone::of(&["104.18.7.192", "10.0.0.1"]).behind("api.openai.com.cdn.cloudflare.net"),
    ])
    .await;
    for number in 0..4 {
        assert_denied("an alias", &scene.ask(number).await, true);
    }
    assert_eq!(calls(), scene.calls_before, "an address of this machine was dialled");
}

#[tokio::test]
async fn https_records_lead_nowhere() {
    let canary = Canary::open("127.0.0.1:0").expect("a port");
    let hint = https(canary.port, [127, 0, 0, 1]);
    let scene = Scene::of(vec![Zone::of(&[]).with(hint.clone()), Zone::of(&["127.0.0.1"]).with(hint)]).await;
    assert_denied("only a hint", &scene.ask(0).await, false);
    assert_denied("a hint beside an address", &scene.ask(1).await, true);
    scene.assert_nothing_dialled();
    assert_eq!(canary.calls(), 0, "the hint was dialled");
}

#[tokio::test]
async fn names_that_do_not_resolve_are_a_failure_and_nothing_else_is_tried() {
    let scene = Scene::with(vec![Zone::missing(), Zone::of(&[])], |options| {
        options
            .env("LOCALDOMAIN", "evil.example")
            .env("RES_OPTIONS", "ndots:15")
            .env("HOSTALIASES", "/etc/hosts")
    })
    .await;
    assert_denied("a name that does not exist", &scene.ask(0).await, false);
    assert_denied("a name without addresses", &scene.ask(1).await, false);
    scene.assert_nothing_dialled();
}

#[tokio::test]
async fn proxies_in_the_environment_do_not_resolve_names_elsewhere() {
    let proxy = Canary::open("127.0.0.1:0").expect("a port");
    let url = format!("socks5h://127.0.0.1:{}", proxy.port);
    let scene = Scene::with(vec![Zone::of(&["127.0.0.1"]), Zone::missing()], |options| {
        ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"]
            .into_iter()
            .fold(options, |options, name| options.env(name, &url))
    })
    .await;
    assert_denied("loopback", &scene.ask(0).await, true);
    assert_denied("a missing name", &scene.ask(1).await, false);
    scene.assert_nothing_dialled();
    assert_eq!(proxy.calls(), 0, "the proxy was called");
}

#[tokio::test]
async fn a_name_server_that_is_silent_or_talks_nonsense_is_a_failure_in_time() {
    for nonsense in [None, Some(vec![0; 3]), Some(vec![0xff; 600])] {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = socket.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut space = [0; 1500];
            while let Ok((_, client)) = socket.recv_from(&mut space).await {
                if let Some(bytes) = &nonsense {
                    // With the question's id, so that it is taken for the answer.
                    let answer = [&space[..2], bytes].concat();
                    let _ = socket.send_to(&answer, client).await;
                }
            }
        });
        let options = Options::default().upstream(&format!("nameservers: [\"{address}\"]")).yaml(UNLIMITED);
        let gateway = Gateway::start(options).await;
        let tenant = gateway.tenant_with_key("openai", &a_key("sk-proj-")).await;
        let begun = Instant::now();
        let reply = gateway.chat(&tenant.caller_token).await;
        let answer = (reply.status(), reply.code());
        assert!(
            matches!(
                (answer.0, answer.1.as_str()),
                (502, "BYOK_DNS_FAILED") | (504, "BYOK_UPSTREAM_TIMEOUT")
            ),
            "{answer:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn key_tests_and_key_sets_are_under_the_same_guard() {
    let scene = Scene::of(vec![Zone::of(&["127.0.0.1"]), Zone::of(&["169.254.169.254"])]).await;
    let bearer = format!("Bearer {}", scene.tenant.admin_token);
    let key = a_key("sk-proj-");
    let headers =
        [("authorization", bearer.as_str()), ("x-byok-key", &key), ("content-type", "application/json")];
    let url = format!("{}/api/v1/keys/test", scene.gateway.url());
    let tested = request("POST", &url, &headers, br#"{"provider": "p0"}"#).await.expect(200);
    assert_eq!(tested.json()["status"], "unreachable");

    let issuer = json!({"issuer": "https://issuer.example", "audience": "keyferry", "algorithm": "ES256",
        "jwks_url": format!("https://{}/keys.json", scene.hosts[1])});
    let path = format!("/tenants/{}/issuers", scene.tenant.id);
    scene.gateway.operator("POST", &path, &issuer).await.expect(201);
    let claims = json!({"iss": "https://issuer.example", "aud": "keyferry", "tenant": scene.tenant.id,
        "exp": now() + 300, "iat": now(), "jti": "one"});
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let token = format!(
        "{}.{}.{}",
        part(&json!({"alg": "ES256", "kid": "k"})),
        part(&claims),
        BASE64URL_NOPAD.encode(&[7; 64])
    );
    scene.gateway.chat(&token).await.refused(401, "unauthorized");
    let asked = scene.names.asked();
    assert!(
        scene.hosts.iter().all(|host| asked.iter().any(|(name, _)| name == host)),
        "both were looked up: {asked:?}"
    );
    scene.assert_nothing_dialled();
}

#[tokio::test]
async fn the_addresses_of_the_allowed_answers_are_allowed_and_those_of_the_others_are_not() {
    let mut cases: Vec<(String, bool)> = Vec::new();
    for case in vectors("dns_answer") {
        let addresses = texts(&case["input"]["answers"]);
        if expected(&case) == Expect::Allow {
            cases.extend(addresses.iter().map(|&address| (address.to_owned(), true)));
        } else if let [one] = addresses[..] {
            cases.push((one.to_owned(), false));
        }
    }
    let mut child = command()
        .args(["upstream", "check", "--kind", "address"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("piped");
    for (address, _) in &cases {
        writeln!(input, "{}", json!(address)).expect("written");
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect();
    assert_eq!(lines.len(), cases.len());
    for ((address, allowed), line) in cases.iter().zip(lines) {
        assert_eq!(line["verdict"] == "allow", *allowed, "{address}: {line}");
    }
}

#[tokio::test]
async fn a_gateway_is_no_way_to_itself() {
    // Its own port, by a name that leads to this machine.
    let scene = Scene::of(vec![Zone::of(&["127.0.0.1"])]).await;
    assert_denied("itself", &scene.ask(0).await, true);
    let mut connection = Connection::open(scene.gateway.port()).await;
    let target = format!("http://127.0.0.1:{}/healthz", scene.gateway.port());
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: gw.example\r\n\r\n").as_bytes()).await;
    assert_eq!(connection.reply().await.status(), 400);
    scene.assert_nothing_dialled();
}
