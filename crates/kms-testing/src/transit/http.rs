//! HTTP/1.1 for one request a connection, by hand: a library would not let the bad days through.

use std::{collections::HashMap, io};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A request.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// Takes members out of the body.
    pub fn forget(&mut self, names: &[&str]) {
        let Ok(Value::Object(mut body)) = serde_json::from_slice(&self.body) else { return };
        body.retain(|name, _| !names.contains(&name.as_str()));
        self.body = Value::Object(body).to_string().into_bytes();
    }
}

/// An answer; without a body it has none.
pub struct Reply {
    pub status: u16,
    pub body: Option<Value>,
}

impl Reply {
    pub fn error(status: u16, text: &str) -> Self {
        Self { status, body: Some(json!({"errors": [text]})) }
    }

    pub const fn nothing() -> Self {
        Self { status: 204, body: None }
    }

    pub fn data(data: &Value) -> Self {
        Self::whole(data, &Value::Null)
    }

    /// As every answer looks that is not an error.
    pub fn whole(data: &Value, auth: &Value) -> Self {
        let body = json!({
            "request_id": "00000000-0000-0000-0000-000000000000", "lease_id": "", "renewable": false,
            "lease_duration": 0, "data": data, "wrap_info": null, "warnings": null, "auth": auth,
        });
        Self { status: 200, body: Some(body) }
    }
}

pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut body = bytes.split_off(head + 4);
    let mut lines = text.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    Ok(Request { method, path, headers, body })
}

pub async fn write(stream: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> io::Result<()> {
    let body = reply.body.as_ref().map(|body| format!("{body}\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} X\r\ncache-control: no-store\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        reply.status,
        body.len()
    );
    write_raw(stream, (head + &body).as_bytes()).await?;
    stream.shutdown().await
}

pub async fn write_raw(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
