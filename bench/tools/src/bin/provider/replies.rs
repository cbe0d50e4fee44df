//! The bytes that go out, made once for each length and copied from then on.

use std::collections::HashMap;

use bench_tools::script::{self, Asked, EVENTS, put_seed};

/// An answer, and where in it the seed is.
type Made = (Vec<u8>, Option<usize>);

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: 67\r\n\r\n{\"error\":{\"message\":\"wrong key\",\"type\":\"invalid_request_error\"}}   ";

pub struct Replies {
    authorization: Vec<u8>,
    answers: HashMap<usize, Made>,
    events: Vec<Made>,
}

impl Replies {
    pub fn new(key: &str) -> Self {
        let events = (0..EVENTS).map(chunk).collect();
        Self { authorization: format!("Bearer {key}").into_bytes(), answers: HashMap::new(), events }
    }

    pub fn is_key(&self, authorization: Option<&[u8]>) -> bool {
        authorization == Some(&self.authorization)
    }

    pub fn refuse(out: &mut Vec<u8>) {
        out.extend_from_slice(REFUSED);
    }

    pub fn answer(&mut self, asked: Asked, out: &mut Vec<u8>) {
        let made = self.answers.entry(asked.length).or_insert_with(|| answer(asked.length));
        put(made, asked.seed, out);
    }

    pub fn stream_head(out: &mut Vec<u8>) {
        out.extend_from_slice(STREAM_HEAD);
    }

    pub fn event(&self, number: usize, seed: u32, out: &mut Vec<u8>) {
        put(&self.events[number], seed, out);
    }
}

fn put((bytes, place): &Made, seed: u32, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(bytes);
    if let Some(place) = place {
        put_seed(&mut out[begin + place..], seed);
    }
}

fn answer(length: usize) -> Made {
    let (body, place) = script::answer(length);
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    let place = place + bytes.len();
    bytes.extend_from_slice(&body);
    (bytes, Some(place))
}

/// An event as a chunk; with the last one the body ends.
fn chunk(number: usize) -> Made {
    let (event, place) = script::event(number);
    let mut bytes = format!("{:x}\r\n", event.len()).into_bytes();
    let place = place.map(|place| place + bytes.len());
    bytes.extend_from_slice(&event);
    bytes.extend_from_slice(if number == EVENTS - 1 { b"\r\n0\r\n\r\n" } else { b"\r\n" });
    (bytes, place)
}
