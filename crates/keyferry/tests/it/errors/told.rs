//! An error's whole form in each dialect, and which were seen.

use std::collections::BTreeSet;

use keyferry_core::code::Code;
use serde_json::{Value, json};

use crate::harness::Reply;

/// The control plane's.
pub const PROBLEM: &str = "problem+json";

/// What was told so far: dialect and code.
#[derive(Default)]
pub struct Told(BTreeSet<(String, String)>);

impl Told {
    /// Checks an error's whole form and notes it.
    pub fn note(&mut self, dialect: &str, reply: &Reply, code: Code) {
        let (status, name) = (code.status(), code.as_str());
        assert_eq!((reply.status(), reply.code().as_str()), (status, name), "{dialect}: {}", reply.text());
        let body = reply.json();
        let error = &body["error"];
        let kind = if dialect == PROBLEM { "application/problem+json" } else { "application/json" };
        assert_eq!(reply.header("content-type"), kind, "{dialect} {name}");
        let message = match dialect {
            "openai" => {
                assert_eq!(error["code"], name);
                assert_eq!(
                    (error["param"].clone(), error["type"].is_string()),
                    (Value::Null, true),
                    "{body}"
                );
                &error["message"]
            }
            "anthropic" => {
                let known = [
                    "invalid_request_error",
                    "authentication_error",
                    "billing_error",
                    "permission_error",
                    "not_found_error",
                    "request_too_large",
                    "rate_limit_error",
                    "api_error",
                    "timeout_error",
                ];
                assert_eq!((&body["type"], &error["details"]["error_code"]), (&json!("error"), &json!(name)));
                assert!(known.iter().any(|one| error["type"] == *one), "{body}");
                assert_eq!(body["request_id"], reply.header("x-keyferry-request-id"));
                &error["message"]
            }
            "gemini" => {
                let info = &error["details"][0];
                assert_eq!((&error["code"], &info["reason"]), (&json!(status), &json!(name)), "{body}");
                assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
                assert!(
                    error["status"]
                        .as_str()
                        .is_some_and(|s| s.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
                );
                &error["message"]
            }
            _ => {
                assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(name)), "{body}");
                assert!(body["title"].is_string() && body["type"].is_string(), "{body}");
                &body["detail"]
            }
        };
        assert!(message.as_str().is_some_and(|text| text.len() > 10), "{body}");
        let id = reply.header("x-keyferry-request-id");
        assert!(!id.is_empty());
        assert_eq!(
            (reply.header("x-request-id"), reply.header("request-id")),
            (id, id),
            "SDKs read these two"
        );
        if matches!(status, 429 | 503) {
            assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{name}");
        }
        self.0.insert((dialect.to_owned(), name.to_owned()));
    }

    /// Whether a code was told in a dialect.
    pub fn has(&self, dialect: &str, code: Code) -> bool {
        self.0.contains(&(dialect.to_owned(), code.as_str().to_owned()))
    }
}
