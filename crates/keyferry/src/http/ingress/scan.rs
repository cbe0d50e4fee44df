//! Heads and bodies in turn, without I/O.

use std::sync::LazyLock;

use memchr::memmem;

use super::{
    Extracted, MAX_HEAD, Reason, Refusal, STAND_IN, chunked::Chunked, fields::Framing, head, wipe_all,
};
use crate::http::secrets::Mark;

/// The end of a head.
static END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n\r\n"));

/// How long a head is with the empty line that ends it, if that is here.
pub fn end_of_head(text: &[u8]) -> Option<usize> {
    END.find(text).map(|at| at + 4)
}

/// Follows the bytes of one connection.
pub(super) struct Scanner {
    state: State,
    /// The head that is being collected.
    head: Vec<u8>,
    /// How many heads were let through.
    heads: u64,
    /// The secrets of those that were, since they were last asked for.
    extracted: Vec<Extracted>,
}

enum State {
    Head,
    Length(u64),
    Chunked(Chunked),
    Refused,
}

/// What becomes of input.
pub(super) enum Verdict {
    /// All of it was taken.
    Taken,
    /// A head was refused; the stand-in was put out in its place.
    HeadRefused(Refusal),
    /// A body was refused.
    BodyRefused(Refusal),
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { state: State::Head, head: Vec::new(), heads: 0, extracted: Vec::new() }
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.state, State::Head) && !self.head.is_empty()
    }

    /// Whether nothing of a request has come yet.
    pub(super) fn between_requests(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused)
    }

    /// The secrets of the heads that were put out, in their order.
    pub(super) fn extracted(&mut self) -> std::vec::Drain<'_, Extracted> {
        self.extracted.drain(..)
    }

    /// How many bytes of plain body are to come: they may pass without being looked at.
    pub(super) fn plain_body(&self) -> u64 {
        match self.state {
            State::Length(left) => left,
            _ => 0,
        }
    }

    /// So many bytes of plain body have passed.
    pub(super) fn passed(&mut self, bytes: u64) {
        if let State::Length(left) = &mut self.state {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.state = State::Head;
            }
        }
    }

    /// Takes input and puts out what the library may see.
    pub(super) fn scan(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Verdict {
        while !input.is_empty() {
            let taken = match &mut self.state {
                State::Refused => return Verdict::Taken,
                State::Head => match self.collect(input, out) {
                    Ok(taken) => taken,
                    Err(reason) => {
                        let refusal = self.refuse(reason, 400);
                        out.extend_from_slice(STAND_IN);
                        return Verdict::HeadRefused(refusal);
                    }
                },
                State::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    out.extend_from_slice(&input[..taken]);
                    self.passed(taken as u64);
                    taken
                }
                State::Chunked(chunked) => match chunked.follow(input) {
                    Ok((taken, ended)) => {
                        out.extend_from_slice(&input[..taken]);
                        if ended {
                            self.state = State::Head;
                        }
                        taken
                    }
                    Err(reason) => return Verdict::BodyRefused(self.refuse(reason, 400)),
                },
            };
            input = &input[taken..];
        }
        Verdict::Taken
    }

    /// Refuses what is being read, for example because it came too slowly.
    pub(super) fn refuse(&mut self, reason: Reason, status: u16) -> Refusal {
        let target = head::target_of(&self.head);
        let of_body = !matches!(self.state, State::Head);
        self.state = State::Refused;
        wipe_all(&mut self.head);
        Refusal { reason, status, target, of_body }
    }

    /// Adds to the head; when it is complete and good, puts it out.
    fn collect(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Reason> {
        let before = self.head.len();
        let from = before.saturating_sub(3);
        // More than may be judged good, with the empty line that is dropped: what finds no room is refused.
        let room = MAX_HEAD + 3 - before;
        self.head.extend_from_slice(&input[..input.len().min(room)]);
        // One empty line before a request is allowed (RFC 9112 §2.2) and dropped.
        if self.head.starts_with(b"\r\n") {
            if self.head.starts_with(b"\r\n\r\n") {
                return Err(Reason("The request begins with empty lines."));
            }
            if self.head.len() > 3 {
                self.head.drain(..2);
                return self.complete(0, before, 2, input.len(), out);
            }
        }
        self.complete(from, before, 0, input.len(), out)
    }

    fn complete(
        &mut self,
        from: usize,
        before: usize,
        dropped: usize,
        input: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, Reason> {
        let Some(end) = end_of_head(&self.head[from..]).map(|end| from + end) else {
            // What can be told early is told early: a line end without CR will never be followed
            // by an end that is looked for.
            let bare = memchr::memchr_iter(b'\n', &self.head).any(|at| at == 0 || self.head[at - 1] != b'\r');
            if bare {
                return Err(Reason("Lines must end in CR LF."));
            }
            if self.head.len() > MAX_HEAD {
                return Err(Reason("The request's head is too large."));
            }
            return Ok(input);
        };
        let taken = end + dropped - before;
        self.head.truncate(end);
        if end > MAX_HEAD {
            return Err(Reason("The request's head is too large."));
        }
        self.state = match head::judge(&self.head)? {
            Framing::None => State::Head,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::START),
        };
        self.heads += 1;
        let mark = Mark(self.heads);
        self.extracted.push(Extracted { mark, secrets: head::extract(&mut self.head, mark) });
        out.extend_from_slice(&self.head);
        // Beyond the head stands whatever came with it.
        wipe_all(&mut self.head);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &str = "POST /openai/v1/chat/completions HTTP/1.1\r\nHost: gw.example\r\n";

    /// What comes out, and whether it was refused, when the input comes in pieces of this size.
    fn scan(input: &[u8], piece: usize) -> (Vec<u8>, Option<Refusal>) {
        let (mut scanner, mut out) = (Scanner::new(), Vec::new());
        for part in input.chunks(piece) {
            match scanner.scan(part, &mut out) {
                Verdict::Taken => {}
                Verdict::HeadRefused(refusal) | Verdict::BodyRefused(refusal) => {
                    return (out, Some(refusal));
                }
            }
        }
        (out, None)
    }

    #[test]
    fn good_requests_pass_unchanged_however_they_are_split() {
        let requests = [
            format!("{POST}Content-Length: 7\r\n\r\n{{\"a\":1}}"),
            format!("{POST}transfer-encoding:chunked\r\n\r\n7;x=y\r\n{{\"a\":1}}\r\n0\r\n\r\n"),
            format!("{POST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{{}}"),
            "GET /openai/v1/models HTTP/1.1\r\nHost: gw.example\r\n\r\n".to_owned(),
        ];
        let all = requests.concat();
        for piece in [1, 2, 3, 7, 64, 4096] {
            let (out, refusal) = scan(all.as_bytes(), piece);
            assert_eq!((String::from_utf8_lossy(&out).as_ref(), refusal), (all.as_str(), None), "{piece}");
        }
    }

    #[test]
    fn values_of_secret_headers_are_taken_out_and_marked_however_they_are_split() {
        let first = "X-API-Key: sk-one\r\nAuthorization:\t Bearer a b \r\nX-Sealed-Key:\r\n";
        let second = "x-byok-KEY:sk-two\r\nx-byok-key: sk-three\r\nX-Custom: x-api-key: kept\r\n";
        let requests = format!(
            "{POST}{first}Content-Length: 21\r\n\r\n\r\nx-api-key: a body\r\n{POST}{second}\r\n{POST}\r\n"
        );
        let passed = requests
            .replace("sk-one", "*****1")
            .replace("Bearer a b", "*********1")
            .replace("sk-two", "*****2")
            .replace("sk-three", "*******2");
        for piece in [1, 2, 3, 7, 64, 4096] {
            let (mut scanner, mut out, mut extracted) = (Scanner::new(), Vec::new(), Vec::new());
            for part in requests.as_bytes().chunks(piece) {
                assert!(matches!(scanner.scan(part, &mut out), Verdict::Taken));
                extracted.extend(scanner.extracted());
            }
            assert_eq!(String::from_utf8_lossy(&out), passed, "in pieces of {piece}");
            let [first, second, third] = extracted.as_mut_slice() else { panic!("{}", extracted.len()) };
            assert_eq!([first.mark, second.mark, third.mark], [1, 2, 3].map(Mark));
            for (name, value) in
                [("x-api-key", &b"sk-one"[..]), ("authorization", b"Bearer a b"), ("x-sealed-key", b"")]
            {
                let taken = first.secrets.take(name).expect("once").expect("there");
                assert_eq!(taken.expose(), value, "{name} in pieces of {piece}");
            }
            assert!(second.secrets.take("x-byok-key").is_err(), "it stands twice");
            assert!(second.secrets.take("x-api-key").expect("in another's value").is_none());
            assert!(third.secrets.take("x-api-key").expect("none").is_none());
        }
    }

    #[test]
    fn a_refused_head_gives_no_secrets() {
        let (mut scanner, mut out) = (Scanner::new(), Vec::new());
        let bad = format!("{POST}X-API-Key: sk-one\r\nContent-Length: +1\r\n\r\n");
        assert!(matches!(scanner.scan(bad.as_bytes(), &mut out), Verdict::HeadRefused(_)));
        assert_eq!((out.as_slice(), scanner.extracted().count()), (STAND_IN, 0));
    }

    #[test]
    fn one_empty_line_before_a_request_is_dropped_and_two_are_refused() {
        let request = "GET /healthz HTTP/1.1\r\nHost: gw\r\n\r\n";
        for piece in [1, 2, 3, 5, 100] {
            let (out, refusal) = scan(format!("\r\n{request}").as_bytes(), piece);
            assert_eq!((out.as_slice(), refusal), (request.as_bytes(), None), "{piece}");
            assert!(scan(format!("\r\n\r\n{request}").as_bytes(), piece).1.is_some(), "{piece}");
        }
    }

    #[test]
    fn nothing_is_lost_of_a_large_head_behind_an_empty_line() {
        let begin = "\r\nGET /healthz HTTP/1.1\r\nHost: gw\r\nX: ";
        for extra in 0..8 {
            let request = format!("{begin}{}\r\n\r\n", "x".repeat(MAX_HEAD - begin.len() - 6 + extra));
            let fits = request.len() - 2 <= MAX_HEAD;
            for piece in [1, 1000, request.len()] {
                let (out, refusal) = scan(request.as_bytes(), piece);
                assert_eq!(refusal.is_none(), fits, "{extra} {piece}");
                assert!(!fits || out == request.as_bytes()[2..], "{extra} {piece}");
            }
        }
    }

    #[test]
    fn what_has_two_readings_is_refused_however_it_is_split() {
        let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        for bad in [
            format!("{POST}{both}"),
            format!("{POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
            format!("{POST}Content-Length: +1\r\n\r\nx"),
            format!("{POST}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
            format!("{POST}X: a\r\n b\r\n\r\n"),
            format!("{POST}X: y\nZ: w\r\n\r\n"),
            format!("{POST}Transfer-Encoding: chunked\r\n\r\n7\n{{\"a\":1}}\r\n0\r\n\r\n"),
            format!("{POST}Transfer-Encoding: chunked\r\n\r\n0\r\nHost: x\r\n\r\n"),
            format!("{POST}Connection: close, authorization\r\n\r\n"),
            "GET /openai/v1/models HTTP/1.1\r\n\r\n".to_owned(),
            "GET /openai/v1/models HTTP/1.0\r\nHost: x\r\n\r\n".to_owned(),
            "GET  /openai/v1/models HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        ] {
            for piece in [1, 3, 17, 4096] {
                let (out, refusal) = scan(bad.as_bytes(), piece);
                assert!(refusal.is_some(), "{bad:?} in pieces of {piece} gave {out:?}");
            }
        }
    }

    #[test]
    fn a_refused_head_is_replaced_and_nothing_after_it_passes() {
        let bad = "GET /anthropic/v1/models HTTP/1.1\r\n\r\n";
        let (out, refusal) = scan(format!("{bad}{bad}").as_bytes(), 4096);
        assert_eq!(out, STAND_IN);
        assert_eq!(refusal.map(|refusal| refusal.target).as_deref(), Some("/anthropic/v1/models"));
    }

    #[test]
    fn a_head_without_end_is_refused_at_the_limit() {
        let endless = format!("{POST}X: {}", "a".repeat(2 * MAX_HEAD));
        for piece in [1000, 40_000] {
            assert!(scan(endless.as_bytes(), piece).1.is_some());
        }
    }
}
