//! A provider's error that says the key, cut in two at every place, and one that is compressed.

use serde_json::json;

use super::{key_of, search::Search};
use crate::{
    harness::{Answer, Gateway, Options, Provider, Seen, a_key},
    ingress::UNLIMITED,
};

/// An error with the key in it, in pieces; the model says at which offset of the key it is cut.
fn cut(seen: &Seen) -> Answer {
    let (key, model) = (key_of(seen), seen.json()["model"].as_str().unwrap_or_default().to_owned());
    let mut words = model.split(' ');
    let kind = words.next().unwrap_or_default();
    let at: usize = words.next().and_then(|text| text.parse().ok()).unwrap_or_default();
    let error = json!({"error": {"message": format!("Incorrect API key provided: {key}."), "code": "invalid_api_key"}});
    let text = match kind {
        "events" => format!("event: error\ndata: {error}\n\n"),
        _ => error.to_string(),
    };
    let begin = text.find(&key).expect("the key is in it");
    let (first, second) = text.split_at(begin + at);
    let media = if kind == "events" { "text/event-stream" } else { "application/json" };
    let head =
        format!("HTTP/1.1 401 Unauthorized\r\ncontent-type: {media}\r\ntransfer-encoding: chunked\r\n\r\n");
    Answer::raw(head).chunk(first).pause(std::time::Duration::from_millis(1)).chunk(second).end()
}

#[tokio::test]
async fn a_key_in_an_error_is_masked_wherever_the_provider_cuts_it() {
    let provider = Provider::start(cut).await;
    let gateway = Gateway::start(Options::to(&provider).yaml(UNLIMITED).quiet()).await;
    let key = a_key("sk-proj-");
    let tenant = gateway.tenant_with_key("openai", &key).await;
    let search = Search::new([("the stored key", key.as_str())]);
    for kind in ["json", "events"] {
        for at in 0..=key.len() {
            let body = json!({"model": format!("{kind} {at}"), "stream": kind == "events"});
            let reply = gateway.post(&tenant.caller_token, "/openai/v1/chat/completions", &[], &body).await;
            let reply = reply.expect(401);
            assert!(reply.text().contains("Incorrect API key provided"), "{kind} {at}: {}", reply.text());
            search.assert_clean([(format!("{kind}, cut at {at}"), reply.body.as_slice())]);
        }
    }
    assert_eq!(provider.count(), 2 * (key.len() + 1));
}

#[tokio::test]
async fn a_compressed_answer_of_any_status_is_refused_unread() {
    // Whatever is in it, nobody asked for it: `accept-encoding: identity` goes up.
    let provider = Provider::start(|seen| {
        let model = seen.json()["model"].as_str().unwrap_or_default().to_owned();
        let (status, coding) = model.split_once(' ').unwrap_or(("200", "gzip"));
        let kind = if seen.json()["stream"] == true { "text/event-stream" } else { "application/json" };
        let headers = [("content-type", kind), ("content-encoding", coding)];
        // Stored, not packed: the key stands in it as it is.
        Answer::with(status.parse().unwrap_or(200), &headers, format!("\x1f\u{8}{}", key_of(seen)).as_bytes())
    })
    .await;
    let gateway = Gateway::start(Options::to(&provider).yaml(UNLIMITED)).await;
    let key = a_key("sk-proj-");
    let tenant = gateway.tenant_with_key("openai", &key).await;
    let search = Search::new([("the stored key", key.as_str())]);
    for status in [200, 400, 401, 429, 500] {
        for coding in ["gzip", "br", "deflate", "zstd", "x-gzip", "identity, gzip"] {
            for stream in [false, true] {
                let body = json!({"model": format!("{status} {coding}"), "stream": stream});
                let reply =
                    gateway.post(&tenant.caller_token, "/openai/v1/chat/completions", &[], &body).await;
                let reply = reply.refused(502, "BYOK_UPSTREAM_ERROR");
                let everything = format!("{:?} {}", reply.head, reply.text());
                search.assert_clean([(format!("{status} {coding}"), everything.as_bytes())]);
                assert_eq!(provider.last().header("accept-encoding"), "identity");
            }
        }
    }
    search.assert_clean([("the log".to_owned(), gateway.log().as_bytes())]);
}
