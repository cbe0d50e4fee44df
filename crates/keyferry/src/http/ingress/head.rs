//! An HTTP/1.1 head (RFC 9112 §2–§5), read strictly.

use std::ops::Range;

use keyferry_core::net::target::{self, TargetRefused};
use memchr::memchr;

use super::{
    Reason,
    fields::{Fields, Framing, is_token},
};
use crate::http::secrets::{Mark, SecretHeaders, secret_name};

/// Judges a head that ends in its empty line; answers how its body is delimited.
pub(super) fn judge(head: &[u8]) -> Result<Framing, Reason> {
    let mut lines = Lines(head);
    let line = lines.next().ok_or(BROKEN)??;
    let method = request_line(line)?;
    let mut fields = Fields::default();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return fields.finish(method);
        }
        if matches!(line[0], b' ' | b'\t') {
            return Err(Reason("Folded header lines are not accepted."));
        }
        let colon = line.iter().position(|&b| b == b':').ok_or(BROKEN)?;
        fields.take(&line[..colon], &line[trim(line, colon + 1)])?;
    }
    Err(BROKEN)
}

/// Moves the values of the secret headers out of a head that was judged good, and leaves a mark in
/// the place of each. No length changes, so the head keeps its one reading.
pub(super) fn extract(head: &mut [u8], mark: Mark) -> SecretHeaders {
    let mut secrets = SecretHeaders::default();
    // In a good head, each CR belongs to the end of a line.
    let mut at = memchr(b'\r', head).map_or(head.len(), |end| end + 2);
    while let Some(length) = memchr(b'\r', &head[at..]) {
        let line = &mut head[at..at + length];
        at += length + 2;
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        if let Some(name) = secret_name(&line[..colon]) {
            let value = trim(line, colon + 1);
            secrets.add(name, &line[value.clone()]);
            mark.write(&mut line[value]);
        }
    }
    secrets
}

const BROKEN: Reason = Reason("The request's head is malformed.");

/// The target of a request line, as far as it can be told, for the dialect of the answer.
pub(super) fn target_of(head: &[u8]) -> String {
    let line = head.split(|&b| b == b'\r' || b == b'\n').next().unwrap_or_default();
    let target = line.split(|&b| b == b' ').nth(1).unwrap_or_default();
    let end = target.iter().take(64).position(|b| !b.is_ascii_graphic() || *b == b'?');
    String::from_utf8_lossy(&target[..end.unwrap_or(target.len().min(64))]).into_owned()
}

fn request_line(line: &[u8]) -> Result<&[u8], Reason> {
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Reason("The request line is malformed."));
    };
    if version != b"HTTP/1.1" {
        return Err(Reason("Only HTTP/1.1 and HTTP/2 are spoken here."));
    }
    check_method(method)?;
    check_target(target)?;
    Ok(method)
}

/// Methods are case-sensitive (RFC 9110 §9.1); those that tunnel or reflect are not for a gateway.
pub(super) fn check_method(method: &[u8]) -> Result<(), Reason> {
    if method.is_empty() || method.len() > 16 || !method.iter().all(|&b| is_token(b)) {
        return Err(Reason("The method is malformed."));
    }
    match method {
        b"GET" | b"POST" | b"PUT" | b"PATCH" | b"DELETE" | b"HEAD" | b"OPTIONS" => Ok(()),
        _ => Err(Reason("This method is not accepted.")),
    }
}

pub(super) fn check_target(target: &[u8]) -> Result<(), Reason> {
    target::check(target).map_err(|refused| {
        Reason(match refused {
            TargetRefused::CredentialInQuery => {
                "A key or token does not belong in the address: it would stand in logs. Send it in a header."
            }
            TargetRefused::TooLong => "The address is too long.",
            TargetRefused::NotOriginForm => "The address must be a path that begins with one slash.",
            TargetRefused::Fragment => "The address must not have a fragment.",
            TargetRefused::Query(_) => "The query is malformed, or has too many parameters.",
            _ => "The path is not in its plain form: no escapes, no empty segments, no dot segments.",
        })
    })
}

/// Where the value is in a line whose name and colon end here.
fn trim(line: &[u8], from: usize) -> Range<usize> {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let value = &line[from..];
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
    from + start..from + end
}

/// Lines that end in CR LF; a CR or LF anywhere else is an error.
struct Lines<'h>(&'h [u8]);

impl<'h> Iterator for Lines<'h> {
    type Item = Result<&'h [u8], Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bare = Reason("Lines must end in CR LF.");
        let Some(at) = memchr::memchr2(b'\r', b'\n', self.0) else { return Some(Err(BROKEN)) };
        if !self.0[at..].starts_with(b"\r\n") {
            return Some(Err(bare));
        }
        let line = &self.0[..at];
        self.0 = &self.0[at + 2..];
        Some(Ok(line))
    }
}
