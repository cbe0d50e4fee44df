//! Usage is read from what providers answer, wherever the bytes are cut.

use keyferry_core::{
    dialect::Dialect::{self, Anthropic, Gemini, OpenAi},
    meter::{Meter, Metered},
    usage::{TokenUsage, UsageSource, estimate_tokens},
};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Json,
    Sse,
}
use Framing::{Json, Sse};

fn start(dialect: Dialect, framing: Framing) -> Meter {
    match framing {
        Json => Meter::json(dialect),
        Sse => Meter::sse(dialect),
    }
}

fn meter(dialect: Dialect, framing: Framing, body: &str) -> Metered {
    let mut meter = start(dialect, framing);
    meter.feed(body.as_bytes());
    meter.finish()
}

fn usage(input: u64, cached_input: u64, output: u64) -> TokenUsage {
    TokenUsage { input, cached_input, output }
}

/// Name, dialect, framing, body, and what it must give: usage, source, model, ended.
type Sample =
    (&'static str, Dialect, Framing, &'static str, TokenUsage, UsageSource, Option<&'static str>, bool);

const fn tokens(input: u64, cached_input: u64, output: u64) -> TokenUsage {
    TokenUsage { input, cached_input, output }
}

const SAMPLES: &[Sample] = &[
    (
        "openai chat",
        OpenAi,
        Json,
        r#"{"id":"chatcmpl-B9","object":"chat.completion","created":1741569952,"model":"gpt-4.1-mini-2025-04-14","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I \"help\" you?\n","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":7,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"service_tier":"default"}"#,
        tokens(19, 7, 10),
        UsageSource::Reported,
        Some("gpt-4.1-mini-2025-04-14"),
        true,
    ),
    (
        "openai chat whose reasoning is only in the total",
        OpenAi,
        Json,
        r#"{"model":"gemini-2.5-flash","choices":[{"message":{"content":"4"}}],"usage":{"completion_tokens":1,"prompt_tokens":9,"total_tokens":210}}"#,
        tokens(9, 0, 201),
        UsageSource::Reported,
        Some("gemini-2.5-flash"),
        true,
    ),
    (
        "openai responses",
        OpenAi,
        Json,
        "{\n  \"id\": \"resp_67\",\n  \"object\": \"response\",\n  \"status\": \"completed\",\n  \"error\": null,\n  \"model\": \"gpt-4.1\",\n  \"output\": [{\"type\": \"message\", \"content\": [{\"type\": \"output_text\", \"text\": \"Tiefe W\u{e4}lder\"}]}],\n  \"usage\": {\n    \"input_tokens\": 36,\n    \"input_tokens_details\": {\"cached_tokens\": 12},\n    \"output_tokens\": 87,\n    \"output_tokens_details\": {\"reasoning_tokens\": 64},\n    \"total_tokens\": 123\n  },\n  \"user\": null\n}\n",
        tokens(36, 12, 87),
        UsageSource::Reported,
        Some("gpt-4.1"),
        true,
    ),
    (
        "openai embeddings",
        OpenAi,
        Json,
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.0023064255,-0.009327292,-1.2e-5,-0.0028842222,0.0023064255,-0.009327292,0.015797347]},{"object":"embedding","index":1,"embedding":[]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
        tokens(8, 0, 0),
        UsageSource::Reported,
        Some("text-embedding-3-small"),
        true,
    ),
    (
        "openai image",
        OpenAi,
        Json,
        r#"{"created":1713833628,"data":[{"b64_json":"iVBORw0KGgo="}],"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}"#,
        tokens(50, 0, 50),
        UsageSource::Reported,
        None,
        true,
    ),
    (
        "openai transcription billed by duration",
        OpenAi,
        Json,
        r#"{"text":"Imagine the wildest idea that you've ever had.","usage":{"type":"duration","seconds":9}}"#,
        tokens(0, 0, 0),
        UsageSource::None,
        None,
        true,
    ),
    (
        "openai error",
        OpenAi,
        Json,
        r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
        tokens(0, 0, 0),
        UsageSource::None,
        None,
        true,
    ),
    (
        "openai chat stream with usage",
        OpenAi,
        Sse,
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\ndata: {\"id\":\"c\",\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi \u{1f44b}\"},\"finish_reason\":null}],\"usage\":null}\n\ndata: {\"id\":\"c\",\"model\":\"gpt-4.1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\ndata: {\"id\":\"c\",\"model\":\"gpt-4.1\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3,\"total_tokens\":14,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n",
        tokens(11, 4, 3),
        UsageSource::Reported,
        Some("gpt-4.1"),
        true,
    ),
    (
        "openai chat stream without usage",
        OpenAi,
        Sse,
        ": keep-alive\r\n\r\ndata: {\"model\":\"gpt-4.1\",\"choices\":[{\"delta\":{\"content\":\"Twelve bytes\"}}]}\r\n\r\ndata: {\"model\":\"gpt-4.1\",\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]}}]}\r\n\r\ndata: [DONE]\r\n\r\n",
        tokens(0, 0, 5),
        UsageSource::Estimated,
        Some("gpt-4.1"),
        true,
    ),
    (
        "openai chat stream that fails at once",
        OpenAi,
        Sse,
        "data: {\"error\":{\"message\":\"The server had an error while processing your request\",\"type\":\"server_error\"}}\n\n",
        tokens(0, 0, 0),
        UsageSource::None,
        None,
        true,
    ),
    (
        "openai responses stream",
        OpenAi,
        Sse,
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"status\":\"in_progress\",\"error\":null,\"model\":\"gpt-4.1\",\"usage\":null}}\n\nevent: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"delta\":\"Hi\"}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"error\":null,\"model\":\"gpt-4.1\",\"output\":[{\"content\":[{\"text\":\"Hi\"}]}],\"usage\":{\"input_tokens\":37,\"input_tokens_details\":{\"cached_tokens\":1},\"output_tokens\":11,\"total_tokens\":48}}}\n\n",
        tokens(37, 1, 11),
        UsageSource::Reported,
        Some("gpt-4.1"),
        true,
    ),
    (
        "openai transcription stream",
        OpenAi,
        Sse,
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\"I see skies\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"I see skies\",\"usage\":{\"input_tokens\":14,\"input_token_details\":{\"text_tokens\":10,\"audio_tokens\":4},\"output_tokens\":31,\"total_tokens\":45}}\n\n",
        tokens(14, 0, 31),
        UsageSource::Reported,
        None,
        true,
    ),
    (
        "openai speech stream",
        OpenAi,
        Sse,
        "data: {\"type\":\"speech.audio.delta\",\"audio\":\"UklGRg==\"}\n\ndata: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":14,\"output_tokens\":101,\"total_tokens\":115}}\n\n",
        tokens(14, 0, 101),
        UsageSource::Reported,
        None,
        true,
    ),
    (
        "openai image stream",
        OpenAi,
        Sse,
        "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"aW1n\",\"usage\":{\"input_tokens\":5,\"output_tokens\":6,\"total_tokens\":11}}\n\n",
        tokens(5, 0, 6),
        UsageSource::Reported,
        None,
        true,
    ),
    (
        "anthropic message",
        Anthropic,
        Json,
        r#"{"id":"msg_01","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001","content":[{"type":"text","text":"Hi!"},{"type":"tool_use","id":"t","name":"f","input":{"usage":{"input_tokens":9999,"output_tokens":9999}}}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"cache_creation":{"ephemeral_5m_input_tokens":77,"input_tokens":5},"output_tokens":25,"service_tier":"standard"}}"#,
        tokens(1110, 1000, 25),
        UsageSource::Reported,
        Some("claude-haiku-4-5-20251001"),
        true,
    ),
    (
        "anthropic count_tokens",
        Anthropic,
        Json,
        r#"{"input_tokens":2095}"#,
        tokens(0, 0, 0),
        UsageSource::None,
        None,
        true,
    ),
    (
        "anthropic stream",
        Anthropic,
        Sse,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"claude-haiku-4-5\",\"stop_reason\":null,\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":0,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":15}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        tokens(30, 5, 15),
        UsageSource::Reported,
        Some("claude-haiku-4-5"),
        true,
    ),
    (
        "anthropic stream that fails midway",
        Anthropic,
        Sse,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-haiku-4-5\",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Sixteen bytes ok\"}}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
        tokens(25, 0, 4),
        UsageSource::Estimated,
        Some("claude-haiku-4-5"),
        true,
    ),
    (
        "gemini generateContent",
        Gemini,
        Json,
        "{\n  \"candidates\": [\n    {\n      \"content\": {\"parts\": [{\"text\": \"AI learns.\"}], \"role\": \"model\"},\n      \"finishReason\": \"STOP\",\n      \"index\": 0\n    }\n  ],\n  \"usageMetadata\": {\n    \"promptTokenCount\": 8,\n    \"cachedContentTokenCount\": 3,\n    \"candidatesTokenCount\": 11,\n    \"totalTokenCount\": 1019,\n    \"promptTokensDetails\": [{\"modality\": \"TEXT\", \"tokenCount\": 8}],\n    \"thoughtsTokenCount\": 1000\n  },\n  \"modelVersion\": \"gemini-2.5-flash\",\n  \"responseId\": \"x\"\n}\n",
        tokens(8, 3, 1011),
        UsageSource::Reported,
        Some("gemini-2.5-flash"),
        true,
    ),
    (
        "gemini countTokens",
        Gemini,
        Json,
        r#"{"totalTokens":31,"promptTokensDetails":[{"modality":"TEXT","tokenCount":31}]}"#,
        tokens(0, 0, 0),
        UsageSource::None,
        None,
        true,
    ),
    (
        "gemini stream",
        Gemini,
        Sse,
        "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"One \"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 8,\"totalTokenCount\": 8},\"modelVersion\": \"gemini-2.5-flash\"}\r\n\r\ndata: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"two\"}],\"role\": \"model\"},\"finishReason\": \"STOP\",\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 8,\"candidatesTokenCount\": 2,\"toolUsePromptTokenCount\": 100,\"totalTokenCount\": 110},\"modelVersion\": \"gemini-2.5-flash\"}\r\n\r\n",
        tokens(108, 0, 2),
        UsageSource::Reported,
        Some("gemini-2.5-flash"),
        true,
    ),
    (
        "gemini stream of an array",
        Gemini,
        Json,
        "[{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"One\"}]}}],\"usageMetadata\": {\"promptTokenCount\": 8}}\n,\r\n{\"candidates\": [{\"finishReason\": \"STOP\"}],\"usageMetadata\": {\"promptTokenCount\": 8,\"candidatesTokenCount\": 2}}\n]",
        tokens(8, 0, 2),
        UsageSource::Reported,
        None,
        true,
    ),
    (
        "gemini blocked prompt",
        Gemini,
        Sse,
        "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"usageMetadata\":{\"promptTokenCount\":8,\"totalTokenCount\":8}}\n\n",
        tokens(8, 0, 0),
        UsageSource::Reported,
        None,
        true,
    ),
    (
        "gemini stream that fails",
        Gemini,
        Sse,
        "data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded.\",\"status\":\"UNAVAILABLE\"}}\n\n",
        tokens(0, 0, 0),
        UsageSource::None,
        None,
        true,
    ),
];

#[test]
fn recorded_answers_give_what_the_provider_reported() {
    for &(name, dialect, framing, body, usage, source, model, ended) in SAMPLES {
        let metered = meter(dialect, framing, body);
        assert_eq!(metered.usage, usage, "{name}");
        assert_eq!(metered.source, source, "{name}");
        assert_eq!(metered.model.as_deref(), model, "{name}");
        assert_eq!(metered.ended, ended, "{name}");
    }
}

#[test]
fn a_cut_between_two_chunks_changes_nothing_at_any_offset() {
    for &(name, dialect, framing, body, ..) in SAMPLES {
        let whole = meter(dialect, framing, body);
        for cut in 0..=body.len() {
            let (first, second) = body.as_bytes().split_at(cut);
            let mut meter = start(dialect, framing);
            meter.feed(first);
            meter.feed(second);
            assert_eq!(meter.finish(), whole, "{name} cut at {cut}");
        }
    }
}

#[test]
fn bytes_fed_one_at_a_time_change_nothing() {
    for &(name, dialect, framing, body, ..) in SAMPLES {
        let mut meter = start(dialect, framing);
        for byte in body.as_bytes() {
            meter.feed(&[*byte]);
        }
        assert_eq!(meter.finish(), self::meter(dialect, framing, body), "{name}");
    }
}

#[test]
fn an_answer_that_breaks_off_has_not_ended() {
    for &(name, dialect, framing, body, ..) in SAMPLES {
        let text = body.trim_end();
        let text = text.strip_suffix("[DONE]").unwrap_or(text);
        for cut in 0..text.len() {
            let Some(part) = text.get(..cut) else { continue };
            assert!(!meter(dialect, framing, part).ended, "{name} broken off at {cut}");
        }
    }
}

#[test]
fn line_ends_of_any_kind_are_the_same() {
    for &(name, dialect, framing, body, ..) in SAMPLES.iter().filter(|sample| sample.2 == Sse) {
        let lf = body.replace("\r\n", "\n");
        let expected = meter(dialect, framing, &lf);
        assert_eq!(meter(dialect, framing, &lf.replace('\n', "\r\n")), expected, "{name}");
        assert_eq!(meter(dialect, framing, &lf.replace('\n', "\r")), expected, "{name}");
        assert_eq!(meter(dialect, framing, &format!("\u{feff}{lf}")), expected, "{name}");
        assert_eq!(meter(dialect, framing, &lf.replace("data: ", "data:")), expected, "{name}");
    }
}

#[test]
fn an_end_mark_without_an_empty_line_is_an_end() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: [DONE]";
    assert!(meter(OpenAi, Sse, body).ended);
    assert!(meter(OpenAi, Sse, &format!("{body}\n")).ended);
    assert!(!meter(OpenAi, Sse, body.trim_end_matches(']')).ended);
}

#[test]
fn the_end_mark_inside_a_generated_text_is_no_end() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"data: [DONE]\\n\\ndata: [DONE]\"}}]}\n\n";
    assert!(!meter(OpenAi, Sse, body).ended);
}

#[test]
fn a_generated_text_that_looks_like_usage_is_a_text() {
    let fake = r#"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1},\"x\":\"\\\\\",\"usage\":{\"prompt_tokens\":2}"#;
    let body = format!(
        r#"{{"choices":[{{"message":{{"content":"{fake}"}}}}],"usage":{{"prompt_tokens":50,"completion_tokens":60}}}}"#
    );
    assert_eq!(meter(OpenAi, Json, &body).usage, usage(50, 0, 60));

    let unreported = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{fake}\"}}}}]}}\n\n");
    let metered = meter(OpenAi, Sse, &unreported);
    assert_eq!(metered.source, UsageSource::Estimated);
    assert_eq!(metered.usage.input, 0);
}

#[test]
fn a_usage_object_in_another_place_is_not_the_usage() {
    for (dialect, body) in [
        (OpenAi, r#"{"data":{"usage":{"prompt_tokens":5,"completion_tokens":5}}}"#),
        (OpenAi, r#"{"metadata":[{"usage":{"prompt_tokens":5}}]}"#),
        (OpenAi, r#"{"usage":{"details":{"prompt_tokens":5}}}"#),
        (OpenAi, r#"{"usage":"prompt_tokens"}"#),
        (OpenAi, r#"{"usage":{"prompt_tokens":"5"}}"#),
        (Anthropic, r#"{"content":[{"input":{"usage":{"input_tokens":5}}}]}"#),
        (Anthropic, r#"{"usageMetadata":{"promptTokenCount":5}}"#),
        (
            Gemini,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"usageMetadata":{"promptTokenCount":5}}}}]}}],"error":{"usageMetadata":{"promptTokenCount":5}}}"#,
        ),
    ] {
        assert_eq!(meter(dialect, Json, body).usage, usage(0, 0, 0), "{body}");
    }
}

#[test]
fn what_is_no_count_is_not_counted() {
    for number in ["-5", "5.5", "5e3", "1234567890123456789", "null", "true", "[]", "{}"] {
        let body = format!(r#"{{"usage":{{"prompt_tokens":{number},"completion_tokens":7}}}}"#);
        let metered = meter(OpenAi, Json, &body);
        assert_eq!((metered.usage, metered.ended), (usage(0, 0, 7), true), "{number}");
    }
}

#[test]
fn cached_tokens_never_exceed_the_input() {
    let body =
        r#"{"usage":{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9}}}"#;
    assert_eq!(meter(OpenAi, Json, body).usage, usage(5, 5, 1));
}

#[test]
fn a_usage_object_cut_in_the_middle_is_not_taken() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\ndata: {\"usage\":{\"prompt_tokens\":11,\"comp";
    let metered = meter(OpenAi, Sse, body);
    assert_eq!((metered.usage, metered.source), (usage(0, 0, 1), UsageSource::Estimated));
}

#[test]
fn a_stream_cut_before_its_final_usage_is_estimated_from_its_text() {
    let body = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"0123456789abcdef\"}}\n\n";
    let metered = meter(Anthropic, Sse, body);
    assert_eq!((metered.usage, metered.source), (usage(25, 0, 4), UsageSource::Estimated));
    assert_eq!(metered.output_bytes, 16);
    assert!(!metered.ended);
}

#[test]
fn a_prompt_is_consumed_once_the_first_event_came() {
    let body = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    assert_eq!(meter(OpenAi, Sse, body).source, UsageSource::Estimated);
    assert_eq!(meter(OpenAi, Sse, ": ping\n\n").source, UsageSource::None);
}

#[test]
fn escapes_count_as_the_bytes_they_stand_for() {
    for (escaped, bytes) in
        [("a\\nb", 3), ("\\u0041", 1), ("\\u00e4", 2), ("\\u4e2d", 3), ("\\ud83d\\udc4b", 4), ("\u{4e2d}", 3)]
    {
        let body = format!(r#"{{"choices":[{{"message":{{"content":"{escaped}"}}}}]}}"#);
        assert_eq!(meter(OpenAi, Json, &body).output_bytes, bytes, "{escaped}");
    }
}

#[test]
fn encoded_audio_is_not_counted_as_text() {
    let body = "data: {\"type\":\"response.output_audio.delta\",\"delta\":\"UklGRgAAAAAAAA==\"}\n\n";
    assert_eq!(meter(OpenAi, Sse, body).output_bytes, 0);
}

#[test]
fn a_line_of_many_megabytes_passes_and_what_follows_counts() {
    let mut meter = Meter::sse(OpenAi);
    meter.feed(b"data: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"");
    let piece = vec![b'A'; 65_536];
    for _ in 0..64 {
        meter.feed(&piece);
    }
    meter.feed(b"\"}\n\ndata: {\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}\n\n");
    assert_eq!(meter.finish().usage, usage(3, 0, 4));
    // The meter holds no buffer that could grow: everything is inside it.
    assert!(size_of::<Meter>() < 1024);
}

#[test]
fn deep_nesting_passes() {
    let body = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(meter(Gemini, Json, &body).ended);
    let inside = format!(r#"{{"x":{body},"usage":{{"prompt_tokens":1}}}}"#);
    assert_eq!(meter(OpenAi, Json, &inside).usage, usage(1, 0, 0));
}

#[test]
fn data_over_several_lines_is_one_text() {
    let body = "data: {\"usage\":\ndata: {\"prompt_tokens\":3\ndata: ,\"completion_tokens\":4}}\n\n";
    assert_eq!(meter(OpenAi, Sse, body).usage, usage(3, 0, 4));
}

#[test]
fn estimates_are_a_quarter_of_the_bytes_rounded_up() {
    assert_eq!([0, 1, 4, 5].map(estimate_tokens), [0, 1, 1, 2]);
}

#[test]
fn usage_sources_have_stable_names() {
    for source in [UsageSource::Reported, UsageSource::Estimated, UsageSource::None] {
        assert_eq!(source.as_str().parse(), Ok(source));
    }
    assert!("Reported".parse::<UsageSource>().is_err());
}

fn pieces_like_answers() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"data: ".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\"usage\":{".to_vec()),
        Just(b"\"prompt_tokens\":12".to_vec()),
        Just(b"{\"choices\":[".to_vec()),
        Just(b"\"\\u00".to_vec()),
        Just(b"}".to_vec()),
        Just(b"]".to_vec()),
        Just(b",".to_vec()),
        Just(b"[DONE]".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_cut_anywhere_give_one_result(body in pieces_like_answers(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        for dialect in [OpenAi, Anthropic, Gemini] {
            for framing in [Json, Sse] {
                let mut whole = start(dialect, framing);
                whole.feed(&body);
                let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
                at.sort_unstable();
                let mut parts = start(dialect, framing);
                let mut from = 0;
                for to in at.into_iter().chain([body.len()]) {
                    parts.feed(&body[from..to]);
                    from = to;
                }
                prop_assert_eq!(parts.finish(), whole.finish());
            }
        }
    }

    #[test]
    fn a_text_that_is_json_in_a_string_is_never_read(text in ".{0,60}", input in 1u64..1000) {
        let content = serde_json::to_string(&format!("{text}\"}}],\"usage\":{{\"prompt_tokens\":7}}")).unwrap();
        let body = format!(r#"{{"choices":[{{"message":{{"content":{content}}}}}],"usage":{{"prompt_tokens":{input}}}}}"#);
        let metered = meter(OpenAi, Json, &body);
        prop_assert_eq!(metered.usage.input, input);
        prop_assert!(metered.ended);
    }
}
