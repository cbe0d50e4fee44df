//! The facts of a `multipart/form-data` body. Never reads a file part: it is passed over by searching for the boundary.

use std::ops::Range;

use memchr::memmem;

use super::{BodyRefused, RequestFacts, checked_model, put_once, span::ModelSpan};

/// A part's headers; more is no form that an SDK writes.
const MAX_PART_HEAD: usize = 8 * 1024;
/// RFC 2046 §5.1.1.
const MAX_BOUNDARY: usize = 70;

/// Reads the facts of a `multipart/form-data` body (RFC 7578): its text fields `model` and `stream`.
///
/// Stricter than the RFC where readers differ: nothing before the first boundary, no folded headers, no boundary
/// that is the start of another line, and each of the two fields once and plain.
pub fn read_multipart_model(content_type: &str, body: &[u8]) -> Result<RequestFacts, BodyRefused> {
    read(content_type, body).map(|(facts, _)| facts)
}

/// Where the field `model` stands in a form whose facts were read; `None` if there is none.
pub fn multipart_model_span(content_type: &str, body: &[u8]) -> Option<ModelSpan> {
    let (_, span) = read(content_type, body).ok()?;
    span.map(ModelSpan::in_form)
}

/// The facts, and where the content of the field `model` stands.
fn read(content_type: &str, body: &[u8]) -> Result<(RequestFacts, Option<Range<usize>>), BodyRefused> {
    let delimiter = format!("\r\n--{}", boundary(content_type)?);
    let mut rest = delimiter
        .as_bytes()
        .get(2..)
        .and_then(|first| body.strip_prefix(first))
        .ok_or(BodyRefused::Multipart("it does not begin with the boundary"))?;
    let finder = memmem::Finder::new(delimiter.as_bytes());
    let mut model = None;
    let mut span = None;
    let mut stream = None;
    loop {
        if let Some(epilogue) = rest.strip_prefix(b"--") {
            return if matches!(epilogue, b"" | b"\r\n") {
                Ok((RequestFacts { model, stream: stream.unwrap_or(false) }, span))
            } else {
                Err(BodyRefused::Multipart("something follows the last boundary"))
            };
        }
        let part = rest
            .strip_prefix(b"\r\n")
            .ok_or(BodyRefused::Multipart("the boundary is not alone on its line"))?;
        let end = finder.find(part).ok_or(BodyRefused::Multipart("the last boundary is missing"))?;
        let (part, after) = part.split_at(end);
        rest = after.get(delimiter.len()..).unwrap_or_default();

        let part = Part::read(part)?;
        match part.name {
            "model" => {
                let text = part.text().ok_or(BodyRefused::ModelNotText)?;
                put_once("model", &mut model, checked_model(text)?.to_owned())?;
                // The content stands before the delimiter that ends it.
                let end = body.len() - after.len();
                span = Some(end - text.len()..end);
            }
            "stream" => {
                let text = part.text().ok_or(BodyRefused::StreamNotBoolean)?;
                let value = match text {
                    _ if text.eq_ignore_ascii_case("true") => true,
                    _ if text.eq_ignore_ascii_case("false") => false,
                    _ => return Err(BodyRefused::StreamNotBoolean),
                };
                put_once("stream", &mut stream, value)?;
            }
            _ => {}
        }
    }
}

/// The boundary parameter. Two of them, or one that no line can hold, is none.
fn boundary(content_type: &str) -> Result<&str, BodyRefused> {
    let (kind, params) = content_type.split_once(';').ok_or(BodyRefused::NoBoundary)?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(BodyRefused::NoBoundary);
    }
    let mut found = None;
    for param in Params(params) {
        let (name, value) = param.map_err(|Malformed| BodyRefused::NoBoundary)?;
        if name.eq_ignore_ascii_case("boundary") {
            put_once("boundary", &mut found, value).map_err(|_| BodyRefused::NoBoundary)?;
        }
    }
    let is_boundary_char = |c: char| c.is_ascii_alphanumeric() || "'()+_,-./:=? ".contains(c);
    found
        .filter(|value| {
            (1..=MAX_BOUNDARY).contains(&value.len())
                && value.chars().all(is_boundary_char)
                && !value.ends_with(' ')
        })
        .ok_or(BodyRefused::NoBoundary)
}

/// One part of a form.
struct Part<'a> {
    name: &'a str,
    is_file: bool,
    is_encoded: bool,
    content: &'a [u8],
}

impl<'a> Part<'a> {
    fn read(part: &'a [u8]) -> Result<Self, BodyRefused> {
        let window = part.get(..MAX_PART_HEAD).unwrap_or(part);
        let end = memmem::find(window, b"\r\n\r\n")
            .ok_or(BodyRefused::Multipart("a part has no end of headers"))?;
        let (head, content) = part.split_at(end);
        let head = std::str::from_utf8(head)
            .map_err(|_| BodyRefused::Multipart("the headers of a part are not UTF-8"))?;
        let mut disposition = None;
        let mut is_encoded = false;
        for line in head.split("\r\n") {
            // A folded header begins with a blank; readers differ in whether they unfold it.
            if line.starts_with([' ', '\t']) || line.contains(['\r', '\n', '\0']) {
                return Err(BodyRefused::Multipart("a header of a part is folded or broken"));
            }
            let (name, value) =
                line.split_once(':').ok_or(BodyRefused::Multipart("a header of a part has no colon"))?;
            if name.eq_ignore_ascii_case("content-disposition") {
                put_once("content-disposition", &mut disposition, value.trim())?;
            } else if name.eq_ignore_ascii_case("content-transfer-encoding") {
                is_encoded |=
                    !["7bit", "8bit", "binary"].iter().any(|plain| value.trim().eq_ignore_ascii_case(plain));
            }
        }
        let (kind, params) = disposition
            .and_then(|value| value.split_once(';'))
            .ok_or(BodyRefused::Multipart("a part has no content disposition"))?;
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return Err(BodyRefused::Multipart("a part is not form data"));
        }
        let mut name = None;
        let mut is_file = false;
        for param in Params(params) {
            let (key, value) =
                param.map_err(|Malformed| BodyRefused::Multipart("a content disposition is malformed"))?;
            if key.eq_ignore_ascii_case("name") {
                put_once("name", &mut name, value)?;
            } else if key.eq_ignore_ascii_case("name*") {
                return Err(BodyRefused::Multipart("a part has an encoded name"));
            }
            is_file |= key.eq_ignore_ascii_case("filename") || key.eq_ignore_ascii_case("filename*");
        }
        let name = name.ok_or(BodyRefused::Multipart("a part has no name"))?;
        // With a backslash or a percent sign the name has two readings.
        if name.contains(['\\', '%']) {
            return Err(BodyRefused::Multipart("a part has an escaped name"));
        }
        Ok(Self { name, is_file, is_encoded, content: content.get(4..).unwrap_or_default() })
    }

    /// The content as a plain one-line text.
    fn text(&self) -> Option<&'a str> {
        if self.is_file || self.is_encoded {
            return None;
        }
        std::str::from_utf8(self.content).ok().filter(|text| !text.contains(char::is_control))
    }
}

struct Malformed;

/// The `name=value` or `name="value"` pairs of a header, separated by semicolons. Escapes in a quoted value are found
/// but not taken out.
struct Params<'a>(&'a str);

impl<'a> Iterator for Params<'a> {
    type Item = Result<(&'a str, &'a str), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0 = self.0.trim_start_matches([' ', '\t', ';']);
        if self.0.is_empty() {
            return None;
        }
        let pair = self.pair();
        if pair.is_none() {
            self.0 = "";
        }
        Some(pair.ok_or(Malformed))
    }
}

impl<'a> Params<'a> {
    fn pair(&mut self) -> Option<(&'a str, &'a str)> {
        let (name, rest) = self.0.split_once('=')?;
        let name = name.trim_end();
        let is_name_char = |c: char| c.is_ascii_alphanumeric() || "!#$&+-.^_*".contains(c);
        if name.is_empty() || !name.chars().all(is_name_char) {
            return None;
        }
        let (value, rest) = if let Some(quoted) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = quoted.find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            })?;
            (quoted.get(..end)?, quoted.get(end + 1..)?)
        } else {
            let (value, rest) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
            (value.trim_end(), rest)
        };
        let rest = rest.trim_start();
        if !rest.is_empty() && !rest.starts_with(';') {
            return None;
        }
        self.0 = rest;
        Some((name, value))
    }
}
