use std::{collections::BTreeMap, sync::Mutex as StdMutex};

use keyferry_core::clock::ManualClock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const START: i64 = 1_800_000_000;

/// A chain over a made-up environment and a clock that stands still.
struct Setting {
    variables: Arc<StdMutex<BTreeMap<String, String>>>,
    clock: Arc<ManualClock>,
    chain: Chain,
}

fn setting(variables: &[(&str, &str)]) -> Setting {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables = Arc::new(StdMutex::new(variables.iter().map(own).collect::<BTreeMap<_, _>>()));
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(START)));
    let read = Arc::clone(&variables);
    let env = Arc::new(move |name: &str| read.lock().expect("whole").get(name).cloned());
    let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    Setting { variables, clock, chain: Chain::new(env, time, "eu-central-1", None) }
}

impl Setting {
    async fn id(&self) -> String {
        self.chain.current().await.expect("credentials").access_key_id.clone()
    }

    async fn error(&self) -> String {
        self.chain.current().await.err().expect("no credentials").to_string()
    }

    fn set(&self, name: &str, value: &str) {
        self.variables.lock().expect("whole").insert(name.to_owned(), value.to_owned());
    }
}

/// Answers one request a connection, with the next of the answers; then nobody is there any more.
struct Server {
    address: String,
    requests: Arc<StdMutex<Vec<String>>>,
}

async fn server(answers: Vec<String>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = Arc::new(StdMutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 8192];
            let mut len = 0;
            while !whole(&request[..len]) {
                len += stream.read(&mut request[len..]).await.expect("a request");
            }
            seen.lock().expect("whole").push(String::from_utf8_lossy(&request[..len]).into_owned());
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    Server { address, requests }
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| length.parse() == Ok(body.len()))
}

fn document(id: &str, lives_secs: i64) -> String {
    let end = Timestamp::from_secs(START + lives_secs).to_rfc3339();
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{id}","SecretAccessKey":"s/+","Token":"t/+","Expiration":"{end}"}}"#
    )
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), content).expect("written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("a name")
}

#[tokio::test]
async fn the_environment_comes_first() {
    let shared = file("[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = f\n");
    let setting = setting(&[
        ("AWS_ACCESS_KEY_ID", "AKIAENV"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_SHARED_CREDENTIALS_FILE", path(&shared)),
    ]);
    let found = setting.chain.current().await.expect("credentials");
    assert_eq!(found.access_key_id, "AKIAENV");
    assert_eq!(found.secret_access_key.expose(), b"secret");
    assert!(found.session_token.as_ref().is_some_and(|token| token.expose() == b"token"));
}

#[tokio::test]
async fn half_a_key_in_the_environment_is_said_and_nothing_else_is_tried() {
    let shared = file("[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = f\n");
    let setting =
        setting(&[("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SHARED_CREDENTIALS_FILE", path(&shared))]);
    assert!(setting.error().await.contains("the environment: only one"));
}

#[tokio::test]
async fn the_profile_of_the_file_is_chosen() {
    let shared = file(
        "# comment\n[default]\naws_access_key_id=AKIAONE\naws_secret_access_key=one\n\n\
         [ other ]\n; aws_access_key_id = AKIANONE\nAWS_ACCESS_KEY_ID = AKIATWO \n\
         aws_secret_access_key = t/w+o==\naws_session_token = tok=en\nregion = x\n",
    );
    let of_default = setting(&[("AWS_SHARED_CREDENTIALS_FILE", path(&shared))]);
    assert_eq!(of_default.id().await, "AKIAONE");
    let of_other = setting(&[("AWS_SHARED_CREDENTIALS_FILE", path(&shared)), ("AWS_PROFILE", "other")]);
    let found = of_other.chain.current().await.expect("credentials");
    assert_eq!(found.access_key_id, "AKIATWO");
    assert_eq!(found.secret_access_key.expose(), b"t/w+o==");
    assert!(found.session_token.as_ref().is_some_and(|token| token.expose() == b"tok=en"));
    let of_none = setting(&[("AWS_SHARED_CREDENTIALS_FILE", path(&shared)), ("AWS_PROFILE", "absent")]);
    assert!(of_none.error().await.contains("shared credentials file: it has no keys for this profile"));
}

#[tokio::test]
async fn a_file_is_looked_for_at_home_and_may_be_missing_there() {
    let home = tempfile::tempdir().expect("a folder");
    let home_path = home.path().to_str().expect("a name");
    let nothing = setting(&[("HOME", home_path), ("AWS_EC2_METADATA_DISABLED", "true")]);
    let error = nothing.error().await;
    for source in ["environment", "shared credentials file", "web identity", "container", "metadata"] {
        assert!(error.contains(source), "{error}");
    }
    std::fs::create_dir(home.path().join(".aws")).expect("a folder");
    let keys = "[default]\naws_access_key_id = AKIAHOME\naws_secret_access_key = f\n";
    std::fs::write(home.path().join(".aws/credentials"), keys).expect("written");
    assert_eq!(nothing.id().await, "AKIAHOME", "what failed is not kept");
    let named = setting(&[("HOME", home_path), ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")]);
    assert!(named.error().await.contains("cannot be read"));
}

#[tokio::test]
async fn a_value_that_is_no_header_is_refused() {
    let setting = setting(&[("AWS_ACCESS_KEY_ID", "AKIA\r\nx: y"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
    let error = setting.error().await;
    assert!(error.contains("no credential") && !error.contains("AKIA"), "{error}");
}

#[tokio::test]
async fn a_web_identity_is_exchanged_for_a_role() {
    let server = server(vec![
        "<R><Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
         <SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></R>"
            .to_owned(),
    ])
    .await;
    let token = file("header.payload.signature\n");
    let setting = setting(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", path(&token)),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_ENDPOINT_URL_STS", &server.address),
    ]);
    assert_eq!(setting.id().await, "ASIAROLE");
    let requests = server.requests.lock().expect("whole");
    assert!(requests[0].starts_with("POST / HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].ends_with(
        "\r\n\r\nAction=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr\
         &RoleSessionName=keyferry&WebIdentityToken=header.payload.signature"
    ));
}

#[tokio::test]
async fn a_container_asks_its_endpoint_with_its_token() {
    let server = server(vec![document("ASIACONTAINER", 3600)]).await;
    let token = file("two\nlines\n");
    let url = format!("{}/v1/credentials?id=1", server.address);
    let wrong = setting(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path(&token)),
    ]);
    assert!(wrong.error().await.contains("the container's endpoint"), "a token is a header");
    std::fs::write(token.path(), "Basic opaque=\n").expect("written");
    assert_eq!(wrong.id().await, "ASIACONTAINER");
    let requests = server.requests.lock().expect("whole");
    assert!(requests[0].starts_with("GET /v1/credentials?id=1 HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("authorization: Basic opaque=\r\n"));
}

#[tokio::test]
async fn a_container_endpoint_elsewhere_in_plain_text_is_refused() {
    let setting = setting(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/credentials")]);
    assert!(setting.error().await.contains("loopback"));
}

#[tokio::test]
async fn a_machine_asks_its_metadata_service_by_version_2() {
    let answers = vec!["metadata-token".to_owned(), "the-role".to_owned(), document("ASIAMACHINE", 3600)];
    let server = server(answers).await;
    let setting = setting(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.address)]);
    assert_eq!(setting.id().await, "ASIAMACHINE");
    let requests = server.requests.lock().expect("whole");
    assert!(requests[0].starts_with("PUT /latest/api/token "), "{}", requests[0]);
    let role = "GET /latest/meta-data/iam/security-credentials/the-role ";
    assert!(requests[2].starts_with(role), "{}", requests[2]);
    for request in &requests[1..] {
        assert!(request.contains("x-aws-ec2-metadata-token: metadata-token\r\n"), "{request}");
    }
}

#[tokio::test]
async fn credentials_are_replaced_five_minutes_before_they_end() {
    let server = server(vec![document("ASIAONE", 3600), document("ASIATWO", 7200)]).await;
    let setting = setting(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &server.address)]);
    assert_eq!(setting.id().await, "ASIAONE");
    setting.clock.advance_millis(3_299_999);
    assert_eq!(setting.id().await, "ASIAONE");
    setting.clock.advance_millis(1);
    assert_eq!(setting.id().await, "ASIATWO");
    assert_eq!(server.requests.lock().expect("whole").len(), 2);
}

#[tokio::test]
async fn credentials_that_cannot_be_replaced_serve_to_their_end_and_no_longer() {
    let server = server(vec![document("ASIAONE", 3600)]).await;
    let setting = setting(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &server.address)]);
    assert_eq!(setting.id().await, "ASIAONE");
    setting.clock.advance_millis(3_400_000);
    assert_eq!(setting.id().await, "ASIAONE");
    setting.clock.advance_millis(199_999);
    assert_eq!(setting.id().await, "ASIAONE");
    setting.clock.advance_millis(1);
    assert!(setting.error().await.contains("away"));
}

#[tokio::test]
async fn credentials_with_a_short_life_are_not_looked_for_at_every_call() {
    let server = server(vec![document("ASIAONE", 200), document("ASIATWO", 3600)]).await;
    let setting = setting(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &server.address)]);
    assert_eq!(setting.id().await, "ASIAONE");
    setting.clock.advance_millis(29_999);
    assert_eq!(setting.id().await, "ASIAONE");
    setting.clock.advance_millis(1);
    assert_eq!(setting.id().await, "ASIATWO");
}

#[tokio::test]
async fn one_looks_while_the_others_wait() {
    let server = server(vec![document("ASIAONE", 3600)]).await;
    let setting = setting(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &server.address)]);
    let (one, two, three) = tokio::join!(setting.id(), setting.id(), setting.id());
    assert_eq!([one, two, three], ["ASIAONE", "ASIAONE", "ASIAONE"]);
    assert_eq!(server.requests.lock().expect("whole").len(), 1);
}

#[tokio::test]
async fn refused_credentials_are_looked_for_again() {
    let setting = setting(&[("AWS_ACCESS_KEY_ID", "AKIAONE"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
    let refused = setting.chain.current().await.expect("credentials");
    let same = setting.chain.instead_of(&refused).await.expect("an answer");
    assert!(same.is_none(), "the same would be refused again");
    setting.set("AWS_SECRET_ACCESS_KEY", "another");
    let refused = setting.chain.current().await.expect("credentials");
    let other = setting.chain.instead_of(&refused).await.expect("an answer").expect("others");
    assert_eq!(other.secret_access_key.expose(), b"another");
}
