//! The KMS of moto, as a server of its own on a free port.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::pause::{pause, resume};

const POLICY: &str = r#"{"Version": "2012-10-17", "Statement":
    [{"Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*"}]}"#;
const TRUST: &str = r#"{"Version": "2012-10-17", "Statement":
    [{"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"AWS": "*"}}]}"#;

/// The server.
pub struct Moto {
    port: u16,
    child: Child,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    /// Starts it; or says that it cannot, for `test`.
    pub fn start(test: &str) -> Option<Self> {
        let named = std::env::var_os("KEYFERRY_MOTO_SERVER");
        let program = named.clone().unwrap_or_else(|| "moto_server".into());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            assert!(named.is_none(), "KEYFERRY_MOTO_SERVER names no program");
            // Not by a macro: the test harness would keep it to itself.
            let _ = writeln!(io::stderr(), "skipped: {test}: moto_server is not installed (moto[server])");
            return None;
        };
        let mut moto = Self { port, child };
        let begun = Instant::now();
        while moto.post("/moto-api/reset", "", &[], "").is_err() {
            assert!(moto.child.try_wait().expect("its state").is_none(), "moto_server ended");
            assert!(begun.elapsed() < Duration::from_secs(120), "moto_server does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    /// Stops it where it is: it is there, and answers nothing.
    pub fn pause(&self) {
        pause(&self.child);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        resume(&self.child);
    }

    /// Where it is.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The id of a new key.
    pub fn new_key(&self) -> String {
        between(&self.kms("CreateKey", "{}"), "\"KeyId\": \"", "\"")
    }

    /// An operation on KMS whose answer does not matter much.
    pub fn kms(&self, operation: &str, body: &str) -> String {
        let target = format!("x-amz-target: TrentService.{operation}");
        self.post("/", "kms", &["content-type: application/x-amz-json-1.1", &target], body).expect(operation)
    }

    /// A new user's access key, with which it may encrypt and decrypt.
    pub fn new_access_key(&self) -> (String, String) {
        self.iam(&[("Action", "CreateUser"), ("UserName", "gateway")]);
        self.iam(&[
            ("Action", "PutUserPolicy"),
            ("UserName", "gateway"),
            ("PolicyName", "least"),
            ("PolicyDocument", POLICY),
        ]);
        let made = self.iam(&[("Action", "CreateAccessKey"), ("UserName", "gateway")]);
        let field = |name| between(&made, &format!("<{name}>"), "</");
        (field("AccessKeyId"), field("SecretAccessKey"))
    }

    /// The ARN of a new role that may encrypt and decrypt.
    pub fn new_role(&self) -> String {
        let made = self.iam(&[
            ("Action", "CreateRole"),
            ("RoleName", "gateway"),
            ("AssumeRolePolicyDocument", TRUST),
        ]);
        self.iam(&[
            ("Action", "PutRolePolicy"),
            ("RoleName", "gateway"),
            ("PolicyName", "least"),
            ("PolicyDocument", POLICY),
        ]);
        between(&made, "<Arn>", "</")
    }

    /// From now on it checks every signature, by botocore's own implementation, and every policy.
    pub fn check_signatures(&self) {
        self.post("/moto-api/reset-auth", "", &[], "0").expect("reset-auth");
    }

    fn iam(&self, fields: &[(&str, &str)]) -> String {
        let mut form = "Version=2010-05-08".to_owned();
        for (name, value) in fields {
            form.extend(["&", name, "="]);
            form.extend(value.bytes().map(|byte| format!("%{byte:02X}")));
        }
        self.post("/", "iam", &["content-type: application/x-www-form-urlencoded"], &form).expect("iam")
    }

    #[expect(clippy::disallowed_types, reason = "the test is no part of the program")]
    fn post(&self, path: &str, service: &str, headers: &[&str], body: &str) -> io::Result<String> {
        let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        let scope = format!("Credential=test/20260101/us-east-1/{service}/aws4_request");
        let signed = format!("authorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
        let length = format!("content-length: {}", body.len());
        let mut head = vec!["host: localhost", "connection: close", &length];
        head.extend((!service.is_empty()).then_some(signed.as_str()));
        head.extend(headers);
        write!(stream, "POST {path} HTTP/1.1\r\n{}\r\n\r\n{body}", head.join("\r\n"))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
            _ => Err(io::Error::other(answer)),
        }
    }
}

fn between(text: &str, start: &str, end: &str) -> String {
    let found = text.split_once(start).and_then(|(_, rest)| rest.split_once(end));
    found.unwrap_or_else(|| panic!("no {start} in {text}")).0.to_owned()
}
