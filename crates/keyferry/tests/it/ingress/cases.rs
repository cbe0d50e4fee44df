//! Requests that two readers could take apart differently, in the form of the published ones: the path begins with
//! `/v1/`, the token is `kf`, each character is one byte.

/// What must become of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Refused; the provider hears nothing of it.
    Deny,
    /// Served; the provider gets exactly one request, with the body `{"a":1}` if it is a POST.
    Allow,
    /// Refused, or read in the one harmless way: as an allowed one.
    Either,
}

use Expect::{Allow, Deny, Either};

const POST: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\nContent-Type: application/json\r\n";

/// A POST whose head goes on as given.
fn post(rest: &str) -> String {
    format!("{POST}{rest}")
}

/// A POST with these header lines and a body of the right length.
fn with_lines(lines: &str) -> String {
    post(&format!("{lines}Content-Length: 7\r\n\r\n{{\"a\":1}}"))
}

/// A POST with a length of this spelling.
fn length(value: &str) -> String {
    post(&format!("Content-Length:{value}\r\n\r\n{{\"a\":1}}"))
}

/// A POST with this transfer coding and one good chunk.
fn coding(value: &str) -> String {
    post(&format!("Transfer-Encoding:{value}\r\n\r\n7\r\n{{\"a\":1}}\r\n0\r\n\r\n"))
}

/// A POST with this chunked body.
fn chunks(body: &str) -> String {
    post(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"))
}

/// A GET with this in the place of the request line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\n\r\n")
}

/// A GET with this in the place of the Host line.
fn host(line: &str) -> String {
    format!("GET /v1/models HTTP/1.1\r\n{line}\r\nAuthorization: Bearer kf\r\n\r\n")
}

/// All of them, by name.
pub(crate) fn all() -> Vec<(String, String, Expect)> {
    let mut cases = Vec::new();
    let mut add = |kind: &str, expect: Expect, make: &dyn Fn(&str) -> String, texts: &[&str]| {
        cases.extend(texts.iter().map(|text| (format!("{kind} {text:?}"), make(text), expect)));
    };
    lengths_and_codings(&mut add);
    chunked(&mut add);
    lines(&mut add);
    hosts(&mut add);
    fields(&mut add);
    cases
}

type Add<'a> = dyn FnMut(&str, Expect, &dyn Fn(&str) -> String, &[&str]) + 'a;

const CONTENT_LENGTH_DENY: &[&str] = &[
    "",
    " ",
    " 7, 7",
    " 7,7",
    " 7, 8",
    " 0x7",
    " 7;",
    " 7\u{b}",
    " \u{b}7",
    " 7\u{0}",
    " 7 7",
    " \"7\"",
    " 1e1",
    " 7.0",
    " 7\u{a0}",
    " \u{ff17}",
    " 18446744073709551616",
    " 18446744073709551623",
    " 9223372036854775808",
    " 7h",
    " -0",
    " +0",
];

const CONTENT_LENGTH_TWICE_DENY: &[&str] = &[
    "Content-Length: 7",
    "content-length: 7",
    "Content-Length: 0",
    "CONTENT-LENGTH: 70",
    "Content-Length : 7",
    "Content-Length\t: 7",
    "Content-Length\u{0}: 7",
    "Content-Length\u{b}: 7",
    " Content-Length: 8",
];

const TRANSFER_ENCODING_DENY: &[&str] = &[
    "",
    " ",
    " chunked\u{b}",
    " \u{b}chunked",
    " chunked\u{0}",
    " \u{0}chunked",
    " chun ked",
    " chunked,",
    " ,chunked",
    " chunked, identity",
    " chunked chunked",
    " chunked; x",
    " 'chunked'",
    " chunked\u{c}",
    " chunked\u{7f}",
    " chunkedx",
    " c\u{68}unked\r\n chunked",
    " gzip",
    " identity\r\nTransfer-Encoding: chunked",
    " chunked\r\nTransfer-Encoding: identity",
    " chunked\r\nTransfer-Encoding:",
    " \u{ef}\u{bb}\u{bf}chunked",
];

const LENGTH_AND_CODING_DENY: &[&str] = &[
    "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: gw.example\r\n\r\n",
    "Content-Length: 7\r\nTransfer-Encoding : chunked\r\n\r\n{\"a\":1}",
    "Content-Length: 7\r\nTransfer-Encoding\t: chunked\r\n\r\n{\"a\":1}",
    "Content-Length: 7\r\n Transfer-Encoding: chunked\r\n\r\n{\"a\":1}",
    "Content-Length: 7\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n{\"a\":1}",
    "Content-Length: 7\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n{\"a\":1}",
    "Content-Length: 7\r\nTransfer-Encoding\u{0}: chunked\r\n\r\n{\"a\":1}",
    "Content-Length: 7\r\nTransfer-Encoding: \r\n\r\n{\"a\":1}",
];

const AN_ALIAS_OF_A_FRAMING_FIELD_EITHER: &[&str] = &[
    "Transfer_Encoding: chunked\r\n",
    "Content_Length: 5\r\n",
    "X-Transfer-Encoding: chunked\r\n",
    "Transfer-Encodings: chunked\r\n",
    "HTTP_TRANSFER_ENCODING: chunked\r\n",
];

const CHUNKS_ALLOW: &[&str] = &[
    "7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "07\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7\r\n{\"a\":1}\r\n00\r\n\r\n",
    "1\r\n{\r\n6\r\n\"a\":1}\r\n0\r\n\r\n",
    "7;a\r\n{\"a\":1}\r\n0;b=c\r\n\r\n",
];

const CHUNKS_EITHER: &[&str] = &[
    "00000000000000000007\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7;x=\"y\"\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7;\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7 ;x\r\n{\"a\":1}\r\n0\r\n\r\n",
];

const CHUNKS_DENY: &[&str] = &[
    "FFFFFFFFFFFFFFFFF\r\n{\"a\":1}\r\n0\r\n\r\n",
    "10000000000000007\r\n{\"a\":1}\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFF\r\n{\"a\":1}\r\n0\r\n\r\n",
    "-7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "+7\r\n{\"a\":1}\r\n0\r\n\r\n",
    " 7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7 \r\n{\"a\":1}\r\n0\r\n\r\n",
    "7\t\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7\r{\"a\":1}\r\n0\r\n\r\n",
    "7\r\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7\u{0}\r\n{\"a\":1}\r\n0\r\n\r\n",
    "\u{b}7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "0X7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7h\r\n{\"a\":1}\r\n0\r\n\r\n",
    "\u{ff17}\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7.0\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7,7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7;x=y\n{\"a\":1}\r\n0\r\n\r\n",
    "7;x\u{0}\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7;x=\"a\nb\"\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7;x\r7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7;\n{\"a\":1}\r\n0\r\n\r\n",
    "\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7\r\n{\"a\":1}\n0\r\n\r\n",
    "7\r\n{\"a\":1}\r0\r\n\r\n",
    "7\r\n{\"a\":1}0\r\n\r\n",
    "7\r\n{\"a\":1} \r\n0\r\n\r\n",
    "8\r\n{\"a\":1}\r\n0\r\n\r\n",
    "6\r\n{\"a\":1}\r\n0\r\n\r\n",
    "7\r\n{\"a\":1}\r\n0\n\r\n",
    "7\r\n{\"a\":1}\r\n0\r\n\n",
    "7\r\n{\"a\":1}\r\n0;x\n\r\n",
    "7\r\n{\"a\":1}\r\n0\r\n\rX",
    "7\r\n{\"a\":1}\r\n0\r\nX: y\r\n\r\n",
    "7\r\n{\"a\":1}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "7\r\n{\"a\":1}\r\n0\r\nX-Api-Key: x\r\n\r\n",
    "7\r\n{\"a\":1}\r\n0\r\nX-Keyferry-Token: x\r\n\r\n",
    "7\r\n{\"a\":1}\r\n0\r\n X\r\n\r\n",
    "7\r\n{\"a\":1}\r\n0\r\nGET /v1/models HTTP/1.1\r\nHost: gw.example\r\n\r\n",
];

const REQUEST_LINE_DENY: &[&str] = &[
    "GET /v1/models HTTP/1.0",
    "GET /v1/models HTTP/2.0",
    "GET /v1/models HTTP/3",
    "GET /v1/models HTTP/0.9",
    "GET /v1/models HTTP/1.1 ",
    "GET /v1/models http/1.1",
    "GET /v1/models HTTP/01.1",
    "GET /v1/models HTTP/1.10",
    "GET /v1/models HTTP/1,1",
    "GET /v1/models HTTP/1.1x",
    "GET /v1/models XHTTP/1.1",
    "GET /v1/models HTTP /1.1",
    "GET /v1/models HTTP/1.1\u{0}",
    "GET /v1/models FTP/1.1",
    "GET /v1/models ICAP/1.0",
    " GET /v1/models HTTP/1.1",
    "\tGET /v1/models HTTP/1.1",
    "GET\t/v1/models HTTP/1.1",
    "GET /v1/models\tHTTP/1.1",
    "GET /v1/models  HTTP/1.1",
    "GET\u{b}/v1/models HTTP/1.1",
    "GET\u{0} /v1/models HTTP/1.1",
    "\u{0}GET /v1/models HTTP/1.1",
    "G\u{0}ET /v1/models HTTP/1.1",
    "GET /v1/models\u{0} HTTP/1.1",
    "G ET /v1/models HTTP/1.1",
    "GET\u{a0}/v1/models HTTP/1.1",
    "\u{ef}\u{bb}\u{bf}GET /v1/models HTTP/1.1",
    "\n\nGET /v1/models HTTP/1.1",
    "\nGET /v1/models HTTP/1.1",
    "\rGET /v1/models HTTP/1.1",
    "\r\n\r\nGET /v1/models HTTP/1.1",
    "Get /v1/models HTTP/1.1",
    "TRACE /v1/models HTTP/1.1",
    "TRACK /v1/models HTTP/1.1",
    "CONNECT /v1/models HTTP/1.1",
    "CONNECT gw.example:443 HTTP/1.1",
    "PROPFIND /v1/models HTTP/1.1",
    "PURGE /v1/models HTTP/1.1",
    "PRI * HTTP/2.0\r\n\r\nXX",
    "GET@ /v1/models HTTP/1.1",
    "GPOST /v1/models HTTP/1.1",
    "GET http://gw.example/v1/models HTTP/1.1",
    "GET https://gw.example/v1/models HTTP/1.1",
    "GET gw.example:443 HTTP/1.1",
    "GET gw.example/v1/models HTTP/1.1",
    "GET * HTTP/1.1",
    "GET v1/models HTTP/1.1",
    "GET ?/v1/models HTTP/1.1",
    "GET /v1/models#x HTTP/1.1",
    "GET /v1/models?a=1#x HTTP/1.1",
    "GET /v1/models;x=y HTTP/1.1",
    "GET /v1/..;/models HTTP/1.1",
    "GET /v1/%6dodels HTTP/1.1",
    "GET /v1/models/.. HTTP/1.1",
    "GET /v1/models/../models HTTP/1.1",
    "GET /v1/models/. HTTP/1.1",
    "GET /v1\\models HTTP/1.1",
    "GET /v1/models\\ HTTP/1.1",
    "GET /v1/models// HTTP/1.1",
    "GET //v1/models HTTP/1.1",
    "GET /v1/models%20 HTTP/1.1",
    "GET /v1/models%0a HTTP/1.1",
    "GET /v1/models\u{7f} HTTP/1.1",
    "GET /v1/models\u{e4} HTTP/1.1",
    "GET /v1/models?a=\u{e4} HTTP/1.1",
    "GET /v1/models?a=%zz HTTP/1.1",
    "GET /v1/models?a=% HTTP/1.1",
    "GET /v1/models?a=%00 HTTP/1.1",
    "GET /v1/models?a=%0d%0aX:y HTTP/1.1",
    "GET /v1/models?a=\"b\" HTTP/1.1",
    "GET /v1/models?a=<b> HTTP/1.1",
    "GET /v1/models?a=b;c=d HTTP/1.1",
    "GET /v1/models?a={b} HTTP/1.1",
    "GET /v1/models?a=b|c HTTP/1.1",
    "GET /v1/models?a=b^c HTTP/1.1",
    "GET /v1/models?api_key=x HTTP/1.1",
    "GET /v1/models?key=AIzaSyA HTTP/1.1",
    "GET /v1/models?apikey=x HTTP/1.1",
    "GET /v1/models?limit=1&API-KEY=x HTTP/1.1",
    "GET /v1/models?api%5Fkey=x HTTP/1.1",
    "GET /v1/models?api_key[]=x HTTP/1.1",
    "GET /v1/models?x-goog-api-key=x HTTP/1.1",
    "GET /v1/models?bearer=x HTTP/1.1",
    "GET /v1/models?Authorization=x HTTP/1.1",
    "GET /v1/models?signature=x HTTP/1.1",
];

const HOST_ALLOW: &[&str] = &[
    "Host: gw.example",
    "host:gw.example",
    "Host: gw.example:443",
    "HOST: 127.0.0.1:8484",
    "Host: [::1]:8484",
];

const HOST_DENY: &[&str] = &[
    "X: no-host",
    "Host:",
    "Host: ",
    "Host: gw.example\r\nHost: gw.example",
    "Host: gw.example\r\nhost: evil.example",
    "Host: gw.example, evil.example",
    "Host: gw.example,gw.example",
    "Host: a@gw.example",
    "Host: user:pass@gw.example",
    "Host: gw.example@evil.example",
    "Host: gw.example/",
    "Host: gw.example/v1",
    "Host: gw.example:443/../health?",
    "Host: gw.example:",
    "Host: gw.example:99999",
    "Host: gw.example:443a",
    "Host: gw.example:-443",
    "Host: gw.example:+443",
    "Host: gw.example: 443",
    "Host: gw.example:443:443",
    "Host: gw.example#x",
    "Host: gw.example?x",
    "Host: gw\\example",
    "Host: gw.example evil.example",
    "Host: gw.example\tevil.example",
    "Host: http://gw.example",
    "Host: [::1",
    "Host: ::1",
    "Host: []",
    "Host: [::1]x",
    "Host: [gw.example]",
    "Host: gw%2eexample",
    "Host: gw.ex\u{e4}mple",
    "Host: gw.example\u{0}",
    "Host: gw.example\u{b}",
    "Host : gw.example",
    " Host: gw.example",
    "Host: gw.example\r\n evil.example",
    "Host: gw.example;x",
    "Host: \"gw.example\"",
    "Host: *",
    "Host: :443",
    "Host: ${host}",
    "Host: gw.example|id",
];

const FIELD_ALLOW: &[&str] = &[
    "",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "X: a b\tc\r\n",
    "X:\r\n",
    "X: \u{e4}\r\n",
    "Expect: 100-continue\r\n",
    "Accept-Encoding: gzip\r\n",
    "Content-Encoding: identity\r\n",
];

const FIELD_EITHER: &[&str] = &[
    "TE: trailers\r\nConnection: te\r\n",
    "Keep-Alive: timeout=5\r\n",
    "Proxy-Connection: keep-alive\r\n",
    "Trailer: authorization\r\n",
    "Connection:\r\n",
    "X-Forwarded-Host: evil.example\r\n",
    "X-HTTP-Method-Override: DELETE\r\n",
    "X-Original-URL: /v1/files\r\n",
    "Max-Forwards: 0\r\n",
    "Range: bytes=0-1\r\n",
];

const FIELD_DENY: &[&str] = &[
    "X\u{0}: a\r\n",
    "X\u{0}Y: a\r\n",
    "X: a\u{0}b\r\n",
    "X: a\u{7f}b\r\n",
    "X: a\u{1b}b\r\n",
    "X: a\u{8}b\r\n",
    "X: a\rb\r\n",
    "X: a\r\r\n",
    "X: a\n\r\n",
    "X: a\n",
    "X: a\r",
    "X Y: a\r\n",
    "X : a\r\n",
    "X\t: a\r\n",
    "X\u{b}: a\r\n",
    "X(: a\r\n",
    "X\"Y: a\r\n",
    "X/Y: a\r\n",
    "X@Y: a\r\n",
    "X[]: a\r\n",
    "X\u{7f}: a\r\n",
    "X\u{e4}: a\r\n",
    ": a\r\n",
    "X\r\n",
    "no colon\r\n",
    " X: a\r\n",
    "\tX: a\r\n",
    "X: a\r\n b\r\n",
    "X: a\r\n\tb\r\n",
    "X:\r\n a\r\n",
    "X: a\r\n \r\n",
    "\n",
    "\r",
    "\u{0}\r\n",
    "Connection: upgrade\r\n",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "Upgrade: h2c\r\n",
    "Upgrade: TLS/1.0\r\n",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "Connection: transfer-encoding\r\n",
    "Connection: host\r\n",
    "Connection: x-api-key\r\n",
    "Connection: close, content-length\r\n",
    "Connection: close, Authorization\r\n",
    "Connection: keep-alive, x-byok-key\r\n",
    "Connection: \u{b}close\r\n",
    "Connection: close\r\nConnection: content-type\r\n",
    "Connection: cookie\r\n",
    "Connection: x_api_key\r\n",
    "Expect: 200-ok\r\n",
    "Expect: 100-continue, x\r\n",
    "Expect: 100-continue\r\nExpect: x\r\n",
    "Expect:\r\n",
    "Content-Encoding: gzip\r\n",
    "Content-Encoding: br\r\n",
    "Content-Encoding: identity, gzip\r\n",
    "Content-Encoding: deflate\r\nContent-Encoding: identity\r\n",
    "content-encoding: x-gzip\r\n",
];

const NO_REQUEST_DENY: &[&str] = &[
    "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\n",
    "\u{0}\u{0}\u{0}\n",
    "SSH-2.0-x\r\n\r\n",
    "\r\n\r\n\r\n",
    "\n",
    "{\"a\":1}\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "GET\r\n\r\n",
    "GET /v1/models\r\n\r\n",
    "GET /v1/models\r\nHost: gw.example\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /v1/models HTTP/1.1\r\n\r\n",
];

fn lengths_and_codings(add: &mut Add<'_>) {
    add("content-length", Allow, &length, &[" 7", "7", "\t7", " 7 \t"]);
    add("content-length", Either, &length, &[" 007", " 00000000000000000000000000000000007"]);
    add("content-length", Deny, &length, CONTENT_LENGTH_DENY);
    add("content-length twice", Deny, &|two| length(&format!(" 7\r\n{two}")), CONTENT_LENGTH_TWICE_DENY);
    add("transfer-encoding", Allow, &coding, &[" chunked", "chunked", "\tchunked", " CHUNKED", " Chunked "]);
    add("transfer-encoding", Either, &coding, &[" chunked\t"]);
    add("transfer-encoding", Deny, &coding, TRANSFER_ENCODING_DENY);
    add("length and coding", Deny, &post, LENGTH_AND_CODING_DENY);
    add("an alias of a framing field", Either, &with_lines, AN_ALIAS_OF_A_FRAMING_FIELD_EITHER);
}

fn chunked(add: &mut Add<'_>) {
    add("chunks", Allow, &chunks, CHUNKS_ALLOW);
    add("chunks", Either, &chunks, CHUNKS_EITHER);
    add("chunks", Deny, &chunks, CHUNKS_DENY);
}

fn lines(add: &mut Add<'_>) {
    add(
        "request line",
        Allow,
        &line,
        &[
            "GET /v1/models HTTP/1.1",
            "\r\nGET /v1/models HTTP/1.1",
            "GET /v1/models?limit=1 HTTP/1.1",
            "GET /v1/models HTTP/1.1\r\nContent-Length: 0",
        ],
    );
    add("request line", Either, &line, &["GET /v1/models? HTTP/1.1", "GET /v1/models/ HTTP/1.1"]);
    add("request line", Deny, &line, REQUEST_LINE_DENY);
}

fn hosts(add: &mut Add<'_>) {
    add("host", Allow, &host, HOST_ALLOW);
    add("host", Deny, &host, HOST_DENY);
}

fn fields(add: &mut Add<'_>) {
    add("field", Allow, &with_lines, FIELD_ALLOW);
    add("field", Either, &with_lines, FIELD_EITHER);
    add("field", Deny, &with_lines, FIELD_DENY);
    let bodiless = |method: &str| {
        format!(
            "{method} /v1/models HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}"
        )
    };
    add("a body on", Deny, &bodiless, &["GET", "HEAD", "DELETE", "OPTIONS"]);
    let chunked = |method: &str| {
        format!(
            "{method} /v1/models HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer kf\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{{\"a\":1}}\r\n0\r\n\r\n"
        )
    };
    add("chunks on", Deny, &chunked, &["GET", "HEAD", "DELETE", "OPTIONS"]);
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let few: String = (0..40).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = |length: usize| format!("X: {}\r\n", "a".repeat(length));
    add("forty fields", Allow, &|_| with_lines(&few), &[""]);
    add("a hundred fields", Deny, &|_| with_lines(&many), &[""]);
    add("a long field", Allow, &|_| with_lines(&long(8_000)), &[""]);
    add("a longer field", Deny, &|_| with_lines(&long(20_000)), &[""]);
    add("a huge field", Deny, &|_| with_lines(&long(1_000_000)), &[""]);
    add("a long name", Deny, &|_| with_lines(&format!("{}: x\r\n", "x".repeat(20_000))), &[""]);
    add("line feeds only", Deny, &|_| with_lines("").replace("\r\n", "\n"), &[""]);
    add("carriage returns only", Deny, &|_| format!("{}\n", with_lines("").replace("\r\n", "\r")), &[""]);
    add("no request", Deny, &|text| text.to_owned(), NO_REQUEST_DENY);
}
