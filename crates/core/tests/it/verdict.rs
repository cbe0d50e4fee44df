//! A key's status is told from what the provider answers.

use keyferry_core::{
    dialect::Dialect::{self, Anthropic, Gemini, OpenAi},
    verdict::{KeyStatus, classify},
};

fn openai(message: &str, kind: &str, code: Option<&str>) -> String {
    serde_json::json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

fn anthropic(kind: &str, message: &str) -> String {
    serde_json::json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
        .to_string()
}

fn gemini(code: u16, status: &str, message: &str, reason: Option<&str>) -> String {
    let details = reason.map(|reason| {
        serde_json::json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}])
    });
    serde_json::json!({"error": {"code": code, "message": message, "status": status, "details": details}})
        .to_string()
}

#[track_caller]
fn tells(dialect: Dialect, status: u16, body: &str, expected: KeyStatus) {
    assert_eq!(classify(dialect, status, body.as_bytes()), expected, "{status} {body}");
}

#[test]
fn an_answer_means_that_the_key_works() {
    for dialect in [OpenAi, Anthropic, Gemini] {
        tells(dialect, 200, r#"{"data":[]}"#, KeyStatus::Ok);
    }
}

#[test]
fn openai_is_told_by_its_codes() {
    let request = "invalid_request_error";
    tells(
        OpenAi,
        401,
        &openai("Incorrect API key provided: sk-x", request, Some("invalid_api_key")),
        KeyStatus::Invalid,
    );
    tells(OpenAi, 401, &openai("Incorrect API key provided: sk-x", request, None), KeyStatus::Invalid);
    let scopes = "You have insufficient permissions for this operation. Missing scopes: api.model.read.";
    for status in [401, 403] {
        tells(OpenAi, status, &openai(scopes, request, None), KeyStatus::OkRestricted);
        tells(OpenAi, status, &openai("", request, Some("missing_scope")), KeyStatus::OkRestricted);
    }
    for code in ["mismatched_organization", "mismatched_project", "invalid_organization", "no_organization"] {
        tells(OpenAi, 401, &openai("", request, Some(code)), KeyStatus::Forbidden);
    }
    tells(
        OpenAi,
        401,
        &openai("OpenAI-Organization header should match organization for API key", request, None),
        KeyStatus::Forbidden,
    );
    let quota = "You exceeded your current quota, please check your plan and billing details.";
    tells(OpenAi, 429, &openai(quota, "insufficient_quota", Some("insufficient_quota")), KeyStatus::NoCredit);
    tells(
        OpenAi,
        429,
        &openai("Rate limit reached for requests", "requests", Some("rate_limit_exceeded")),
        KeyStatus::RateLimited,
    );
    let region = "Country, region, or territory not supported";
    tells(
        OpenAi,
        403,
        &openai(region, "request_forbidden", Some("unsupported_country_region_territory")),
        KeyStatus::RegionBlocked,
    );
    tells(OpenAi, 403, &openai(region, "request_forbidden", None), KeyStatus::RegionBlocked);
}

#[test]
fn an_unexplained_401_of_openai_is_no_proof_of_a_bad_key() {
    tells(OpenAi, 401, &openai("Something new", "invalid_request_error", None), KeyStatus::Untested);
    tells(OpenAi, 401, "", KeyStatus::Untested);
}

#[test]
fn anthropic_is_told_by_its_types() {
    tells(Anthropic, 401, &anthropic("authentication_error", "invalid x-api-key"), KeyStatus::Invalid);
    let credit = "Your credit balance is too low to access the Anthropic API.";
    tells(Anthropic, 400, &anthropic("invalid_request_error", credit), KeyStatus::NoCredit);
    tells(Anthropic, 402, &anthropic("billing_error", "Billing"), KeyStatus::NoCredit);
    tells(Anthropic, 403, &anthropic("permission_error", "Not allowed"), KeyStatus::Forbidden);
    tells(Anthropic, 429, &anthropic("rate_limit_error", "Slow down"), KeyStatus::RateLimited);
    tells(Anthropic, 529, &anthropic("overloaded_error", "Overloaded"), KeyStatus::ProviderDown);
    tells(Anthropic, 400, &anthropic("invalid_request_error", "max_tokens: required"), KeyStatus::Untested);
}

#[test]
fn gemini_is_told_by_its_reasons() {
    let bad = "API key not valid. Please pass a valid API key.";
    tells(Gemini, 400, &gemini(400, "INVALID_ARGUMENT", bad, Some("API_KEY_INVALID")), KeyStatus::Invalid);
    tells(OpenAi, 400, &format!("[{}]", gemini(400, "INVALID_ARGUMENT", bad, None)), KeyStatus::Invalid);
    for reason in [
        "SERVICE_BLOCKED",
        "HTTP_REFERRER_BLOCKED",
        "IP_ADDRESS_BLOCKED",
        "API_KEY_SERVICE_BLOCKED",
        "API_KEY_HTTP_REFERRER_BLOCKED",
    ] {
        tells(Gemini, 403, &gemini(403, "PERMISSION_DENIED", "Blocked.", Some(reason)), KeyStatus::Forbidden);
    }
    let location = "User location is not supported for the API use.";
    tells(Gemini, 400, &gemini(400, "FAILED_PRECONDITION", location, None), KeyStatus::RegionBlocked);
    tells(
        Gemini,
        429,
        &gemini(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", None),
        KeyStatus::RateLimited,
    );
    tells(Gemini, 400, &gemini(400, "INVALID_ARGUMENT", "Unknown name", None), KeyStatus::Untested);
    tells(Gemini, 503, &gemini(503, "UNAVAILABLE", "Overloaded", None), KeyStatus::ProviderDown);
}

#[test]
fn a_failing_provider_tells_nothing_about_the_key() {
    for status in [500, 502, 503, 504, 529] {
        tells(OpenAi, status, &openai("", "", Some("invalid_api_key")), KeyStatus::ProviderDown);
    }
}

#[test]
fn a_page_of_a_proxy_tells_nothing_about_the_key() {
    for dialect in [OpenAi, Anthropic, Gemini] {
        for status in [302, 400, 401, 403, 404, 407] {
            tells(
                dialect,
                status,
                "<html>Incorrect API key provided, invalid_api_key</html>",
                KeyStatus::Untested,
            );
        }
    }
}

#[test]
fn a_request_that_quotes_an_error_makes_no_key_invalid() {
    let message = "tools.0.name: 'API key not valid. Incorrect API key provided' is no name";
    tells(Anthropic, 400, &anthropic("invalid_request_error", message), KeyStatus::Untested);
}

#[test]
fn unusual_error_bodies_tell_nothing() {
    for body in [
        "[]",
        "null",
        "{\"error\":null}",
        "{\"error\":[]}",
        "{\"error\":{\"code\":{},\"details\":[1,null]}}",
        "{",
    ] {
        tells(OpenAi, 401, body, KeyStatus::Untested);
    }
    let large = format!("{{\"error\":{{\"code\":\"invalid_api_key\",\"x\":\"{}\"}}}}", "x".repeat(70_000));
    tells(OpenAi, 401, &large, KeyStatus::Untested);
}

#[test]
fn statuses_have_stable_names() {
    for name in [
        "untested",
        "ok",
        "ok_restricted",
        "invalid",
        "forbidden",
        "no_credit",
        "rate_limited",
        "region_blocked",
        "provider_down",
        "unreachable",
    ] {
        let status: KeyStatus = name.parse().unwrap();
        assert_eq!(status.as_str(), name);
        assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{name}\""));
    }
    assert!("valid".parse::<KeyStatus>().is_err());
}
