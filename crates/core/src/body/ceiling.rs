//! How many tokens an answer may have at most, as far as the request says so. Only for an estimate: what is not understood
//! counts as not said.

use serde::Deserialize;

/// Tokens of an answer where the request sets no limit.
const USUAL: u64 = 4096;
/// No model answers with more.
const MOST: u64 = 1_000_000;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Limits {
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u64>,
    #[serde(rename = "generationConfig", alias = "generation_config")]
    generation_config: Option<Generation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Generation {
    #[serde(rename = "maxOutputTokens", alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(rename = "candidateCount", alias = "candidate_count")]
    candidate_count: Option<u64>,
}

/// Tokens that the answers to a JSON body may have together.
pub fn output_ceiling(body: &[u8]) -> u64 {
    let limits: Limits = serde_json::from_slice(body).unwrap_or_default();
    let generation = limits.generation_config.unwrap_or_default();
    let each = limits
        .max_completion_tokens
        .or(limits.max_output_tokens)
        .or(limits.max_tokens)
        .or(generation.max_output_tokens)
        .unwrap_or(USUAL);
    let times = limits.n.or(generation.candidate_count).unwrap_or(1).max(1);
    each.saturating_mul(times).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_says_it_in_its_own_words() {
        for (body, expected) in [
            ("{}", USUAL),
            (r#"{"max_tokens": 7}"#, 7),
            (r#"{"max_tokens": 7, "max_completion_tokens": 9, "n": 3}"#, 27),
            (r#"{"max_output_tokens": 5}"#, 5),
            (r#"{"generationConfig": {"maxOutputTokens": 6, "candidateCount": 2}}"#, 12),
            (r#"{"max_tokens": "many"}"#, USUAL),
            (r#"{"max_tokens": 99999999999}"#, MOST),
            ("not JSON", USUAL),
        ] {
            assert_eq!(output_ceiling(body.as_bytes()), expected, "{body}");
        }
    }
}
