//! A client that hides nothing: bytes out, bytes in.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::PATIENCE;

/// Something that bytes go into and come out of.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// One connection to the gateway.
pub struct Connection {
    wire: Box<dyn Wire>,
    read: Vec<u8>,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// A header's value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// What comes next in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Data(Vec<u8>),
    /// The end, as it should be.
    End,
    /// The connection, before the end.
    Broken,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Reply {
    pub head: Head,
    pub body: Vec<u8>,
    /// Whether the body ended as it should.
    pub whole: bool,
}

impl Reply {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn header(&self, name: &str) -> &str {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The error code, where any of the four dialects has it.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let error = &body["error"];
        let places =
            [&body["code"], &error["details"]["error_code"], &error["details"][0]["reason"], &error["code"]];
        places.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Fails the test unless the answer has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "{}", self.text());
        self
    }

    /// Fails the test unless the answer is this error.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status(), self.code().as_str()), (status, code), "{}", self.text());
        self
    }
}

/// A connection to a port of this machine, without anything around it.
#[expect(clippy::disallowed_methods, reason = "a test talks to the gateway under test")]
pub async fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway accepts connections");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

impl Connection {
    /// Connects to a port of this machine.
    pub async fn open(port: u16) -> Self {
        Self::over(connect(port).await)
    }

    /// Talks over something that is connected already, such as TLS.
    pub fn over(wire: impl Wire + 'static) -> Self {
        Self { wire: Box::new(wire), read: Vec::new() }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).await.expect("the gateway takes bytes");
        self.wire.flush().await.expect("the gateway takes bytes");
    }

    /// Sends bytes; the gateway may have hung up.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.wire.write_all(bytes).await?;
        self.wire.flush().await
    }

    /// Sends a request with a body of known length.
    pub async fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: gateway.example\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !body.is_empty() || method != "GET" {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        // A refusal may come, and the connection go, before all was read.
        let _ = self.try_send(&bytes).await;
    }

    /// Reads more; answers whether there was any.
    async fn more(&mut self) -> bool {
        let mut bytes = vec![0; 16 * 1024];
        match timeout(PATIENCE, self.wire.read(&mut bytes)).await.expect("the gateway says nothing") {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.read.extend_from_slice(&bytes[..length]);
                true
            }
        }
    }

    /// The next bytes, so many.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.more().await, "the gateway hangs up");
        }
        self.read.drain(..count).collect()
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).expect("a line of text"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads the head of the next answer, if one comes.
    pub async fn try_head(&mut self) -> Option<Head> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not the beginning of an answer: {first}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Head { status, headers })
    }

    /// Reads the head of the next answer.
    pub async fn head(&mut self) -> Head {
        self.try_head().await.expect("an answer")
    }

    /// The next chunk of a chunked body.
    pub async fn chunk(&mut self) -> Piece {
        let Some(size) = self.line().await else { return Piece::Broken };
        let size = usize::from_str_radix(&size, 16).expect("the size of a chunk");
        while self.read.len() < size + 2 {
            if !self.more().await {
                return Piece::Broken;
            }
        }
        let data = self.read.drain(..size + 2).take(size).collect();
        if size == 0 { Piece::End } else { Piece::Data(data) }
    }

    /// Reads chunks until one holds this text; answers all that was read.
    pub async fn until_text(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            match self.chunk().await {
                Piece::Data(data) => read.push_str(&String::from_utf8_lossy(&data)),
                other => panic!("{other:?} before {text:?} came, after {read:?}"),
            }
        }
        read
    }

    /// Reads a whole body.
    pub async fn body(&mut self, head: &Head) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        if head.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            loop {
                match self.chunk().await {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::End => return (body, true),
                    Piece::Broken => return (body, false),
                }
            }
        }
        let length: usize = head.header("content-length").parse().unwrap_or(0);
        while self.read.len() < length {
            if !self.more().await {
                return (std::mem::take(&mut self.read), false);
            }
        }
        (self.read.drain(..length).collect(), true)
    }

    /// Reads a whole answer, if one comes.
    pub async fn try_reply(&mut self) -> Option<Reply> {
        let head = self.try_head().await?;
        let (body, whole) = self.body(&head).await;
        Some(Reply { head, body, whole })
    }

    /// Reads a whole answer.
    pub async fn reply(&mut self) -> Reply {
        self.try_reply().await.expect("an answer")
    }

    /// Whether the gateway hangs up within this time, without another byte.
    pub async fn closes_within(&mut self, time: Duration) -> bool {
        assert!(self.read.is_empty(), "bytes that nobody read: {:?}", String::from_utf8_lossy(&self.read));
        let end = Instant::now() + time;
        let mut byte = [0];
        let left = end.saturating_duration_since(Instant::now());
        matches!(timeout(left, self.wire.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }

    /// Everything that still comes until the gateway hangs up.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }
}

/// One request on a connection of its own.
pub async fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let rest = url.strip_prefix("http://127.0.0.1:").expect("an address of this machine");
    let (port, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut connection = Connection::open(port.parse().expect("a port")).await;
    let target = if target.is_empty() { "/" } else { target };
    connection.request(method, target, headers, body).await;
    connection.reply().await
}

/// Posts JSON on a connection of its own.
pub async fn post_json(url: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let headers = [&[("content-type", "application/json")], headers].concat();
    request("POST", url, &headers, body.to_string().as_bytes()).await
}
