//! What is to be done.

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::Context;
use bench_tools::{flags::Flags, script};

use crate::expected::Expected;

pub const FLAGS: [&str; 16] = [
    "to",
    "path",
    "header",
    "connections",
    "seconds",
    "warm",
    "ask",
    "answer",
    "stream",
    "wait",
    "exact",
    "account",
    "vary",
    "count",
    "rate",
    "ramp",
];

pub struct Plan {
    pub to: SocketAddr,
    pub connections: usize,
    pub warm: Duration,
    pub window: Duration,
    /// End after so many requests instead.
    pub count: Option<u64>,
    /// So many requests a second, answered or not, instead of one behind the other.
    pub rate: Option<f64>,
    /// So many connections are opened a second, instead of all at once.
    pub ramp: Option<f64>,
    pub accounts: Vec<(String, Vec<i32>)>,
    pub request: Request,
    pub expected: Expected,
}

/// The bytes of a request, all but a header that is different each time, and the seed.
pub struct Request {
    head: Vec<u8>,
    vary: Vec<String>,
    body: Vec<u8>,
    seed: usize,
    next: usize,
}

impl Plan {
    pub fn read(flags: &Flags) -> anyhow::Result<Self> {
        let answer = flags.or("answer", 1024)?;
        let stream = flags.or("stream", false)?;
        let wait = flags.or("wait", 0)?;
        let (body, seed) = script::question(flags.or("ask", 512)?, answer, stream, wait);
        let to: SocketAddr = flags.need("to")?;
        let path: String = flags.need("path")?;
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nhost: {to}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        for header in flags.all("header") {
            head.push_str(header);
            head.push_str("\r\n");
        }
        let vary = match flags.text("vary") {
            Some(file) => fs::read_to_string(file)?.lines().map(str::to_owned).collect(),
            None => Vec::new(),
        };
        Ok(Self {
            to,
            connections: flags.or("connections", 1)?,
            warm: Duration::from_secs_f64(flags.or("warm", 0.2)?),
            window: Duration::from_secs_f64(flags.or("seconds", 1.0)?),
            count: flags.get("count")?,
            rate: flags.get("rate")?,
            ramp: flags.get("ramp")?,
            accounts: flags.all("account").map(account).collect::<Result<_, _>>()?,
            request: Request { head: head.into_bytes(), vary, body, seed, next: 0 },
            expected: Expected::new(answer, stream, wait, flags.or("exact", true)?),
        })
    }
}

fn account(text: &str) -> anyhow::Result<(String, Vec<i32>)> {
    let (name, pids) = text.split_once('=').context("--account NAME=PID,PID")?;
    let pids = pids.split(',').map(str::parse).collect::<Result<_, _>>()?;
    Ok((name.to_owned(), pids))
}

impl Request {
    /// Writes the request with this seed.
    pub fn write(&mut self, seed: u32, out: &mut Vec<u8>) -> anyhow::Result<()> {
        out.clear();
        out.extend_from_slice(&self.head);
        if !self.vary.is_empty() {
            // Used up: what may be used once is not used twice.
            let header = self.vary.get(self.next).context("--vary has too few lines")?;
            self.next += 1;
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        let body = out.len();
        out.extend_from_slice(&self.body);
        script::put_seed(&mut out[body + self.seed..], seed);
        Ok(())
    }
}
