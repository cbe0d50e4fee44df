//! The operation table: which method and path of a surface exist, and what may come with them.
//!
//! A path that is not in the table does not exist: it is refused before any key is looked at.

use crate::dialect::Dialect;

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// Nothing.
    None,
    /// One JSON object.
    Json,
    /// A form with files (RFC 7578).
    Multipart,
}

/// One segment of a path.
#[derive(Clone, Copy, Debug)]
enum Segment {
    /// These bytes.
    Is(&'static str),
    /// Any one segment.
    Any,
    /// Any one segment: the model.
    Model,
    /// A model and this verb behind a colon, `gemini-2.5-pro:generateContent`.
    ModelVerb(&'static str),
}

/// One row of the table.
#[derive(Debug)]
pub struct Operation {
    /// Its name in usage rows and metrics.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    path: &'static [Segment],
    /// The query parameters that pass.
    pub query: &'static [&'static str],
    /// What its request carries.
    pub body: RequestBody,
    /// Whether its answer says what was consumed. Others may repeat such numbers of an earlier
    /// request (`GET responses/{id}`), which must not be counted again.
    pub metered: bool,
}

use Segment::{Any, Is, Model, ModelVerb};

const fn get(name: &'static str, path: &'static [Segment], query: &'static [&'static str]) -> Operation {
    Operation { name, method: "GET", path, query, body: RequestBody::None, metered: false }
}

const fn post(name: &'static str, path: &'static [Segment]) -> Operation {
    Operation { name, method: "POST", path, query: &[], body: RequestBody::Json, metered: true }
}

const fn form(name: &'static str, path: &'static [Segment]) -> Operation {
    Operation { name, method: "POST", path, query: &[], body: RequestBody::Multipart, metered: true }
}

const fn command(name: &'static str, path: &'static [Segment]) -> Operation {
    Operation { name, method: "POST", path, query: &[], body: RequestBody::None, metered: false }
}

const fn delete(name: &'static str, path: &'static [Segment]) -> Operation {
    Operation { name, method: "DELETE", path, query: &[], body: RequestBody::None, metered: false }
}

const V1: Segment = Is("v1");
const PAGE: &[&str] = &["limit", "after", "before", "order"];

/// OpenAI and compatible providers, below `/{provider}`.
pub static OPENAI: &[Operation] = &[
    post("chat.completions", &[V1, Is("chat"), Is("completions")]),
    post("completions", &[V1, Is("completions")]),
    post("responses", &[V1, Is("responses")]),
    get(
        "responses.retrieve",
        &[V1, Is("responses"), Any],
        &["stream", "starting_after", "include", "include[]", "include_obfuscation"],
    ),
    delete("responses.delete", &[V1, Is("responses"), Any]),
    command("responses.cancel", &[V1, Is("responses"), Any, Is("cancel")]),
    get(
        "responses.input_items",
        &[V1, Is("responses"), Any, Is("input_items")],
        &["limit", "after", "before", "order", "include", "include[]"],
    ),
    post("embeddings", &[V1, Is("embeddings")]),
    get("models.list", &[V1, Is("models")], PAGE),
    get("models.get", &[V1, Is("models"), Model], &[]),
    form("audio.transcriptions", &[V1, Is("audio"), Is("transcriptions")]),
    form("audio.translations", &[V1, Is("audio"), Is("translations")]),
    post("audio.speech", &[V1, Is("audio"), Is("speech")]),
    post("images.generations", &[V1, Is("images"), Is("generations")]),
    form("images.edits", &[V1, Is("images"), Is("edits")]),
    form("images.variations", &[V1, Is("images"), Is("variations")]),
    Operation { metered: false, ..post("moderations", &[V1, Is("moderations")]) },
    get("files.list", &[V1, Is("files")], &["limit", "after", "order", "purpose"]),
    Operation { metered: false, ..form("files.create", &[V1, Is("files")]) },
    get("files.get", &[V1, Is("files"), Any], &[]),
    delete("files.delete", &[V1, Is("files"), Any]),
    get("files.content", &[V1, Is("files"), Any, Is("content")], &[]),
    Operation { metered: false, ..post("batches.create", &[V1, Is("batches")]) },
    get("batches.list", &[V1, Is("batches")], &["limit", "after"]),
    get("batches.get", &[V1, Is("batches"), Any], &[]),
    command("batches.cancel", &[V1, Is("batches"), Any, Is("cancel")]),
];

const MESSAGES_QUERY: &[&str] = &["beta"];

/// Anthropic, below `/anthropic`.
pub static ANTHROPIC: &[Operation] = &[
    Operation { query: MESSAGES_QUERY, ..post("messages", &[V1, Is("messages")]) },
    Operation {
        query: MESSAGES_QUERY,
        metered: false,
        ..post("messages.count_tokens", &[V1, Is("messages"), Is("count_tokens")])
    },
    get("models.list", &[V1, Is("models")], &["limit", "after_id", "before_id", "beta"]),
    get("models.get", &[V1, Is("models"), Model], &["beta"]),
];

const ALT: &[&str] = &["alt"];

/// Gemini, below `/gemini/v1` and `/gemini/v1beta` alike.
pub static GEMINI: &[Operation] = &[
    get("models.list", &[Is("models")], &["pageSize", "pageToken", "alt"]),
    get("models.get", &[Is("models"), Model], ALT),
    Operation { query: ALT, ..post("generate_content", &[Is("models"), ModelVerb("generateContent")]) },
    Operation {
        query: ALT,
        ..post("stream_generate_content", &[Is("models"), ModelVerb("streamGenerateContent")])
    },
    Operation {
        query: ALT,
        metered: false,
        ..post("count_tokens", &[Is("models"), ModelVerb("countTokens")])
    },
    Operation { query: ALT, ..post("embed_content", &[Is("models"), ModelVerb("embedContent")]) },
    Operation {
        query: ALT,
        ..post("batch_embed_contents", &[Is("models"), ModelVerb("batchEmbedContents")])
    },
];

/// The operations of a dialect.
pub fn table(dialect: Dialect) -> &'static [Operation] {
    match dialect {
        Dialect::OpenAi => OPENAI,
        Dialect::Anthropic => ANTHROPIC,
        Dialect::Gemini => GEMINI,
    }
}

/// The name of an operation, if there is one of that name.
pub fn name(text: &str) -> Option<&'static str> {
    let mut all = [OPENAI, ANTHROPIC, GEMINI].into_iter().flatten();
    all.find_map(|operation| (operation.name == text).then_some(operation.name))
}

/// A row of the table and what the path says about the model.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'p> {
    /// The row.
    pub operation: &'static Operation,
    /// The model, where the path names it.
    pub model: Option<&'p str>,
}

/// Finds the operation of a method and a path below a provider's surface (`/v1/models`).
pub fn find<'p>(dialect: Dialect, method: &str, below: &'p str) -> Option<Matched<'p>> {
    let mut path = below.strip_prefix('/')?;
    if dialect == Dialect::Gemini {
        let (version, rest) = path.split_once('/')?;
        if !matches!(version, "v1" | "v1beta") {
            return None;
        }
        path = rest;
    }
    table(dialect)
        .iter()
        .filter(|operation| operation.method == method)
        .find_map(|operation| operation.matches(path))
}

impl Operation {
    /// Whether what it costs is a number of tokens, of its request or of its answer.
    pub fn counts_tokens(&self) -> bool {
        self.answers_in_tokens()
            || matches!(self.name, "embeddings" | "embed_content" | "batch_embed_contents")
    }

    /// Whether its answer costs by the token.
    pub fn answers_in_tokens(&self) -> bool {
        matches!(
            self.name,
            "chat.completions"
                | "completions"
                | "responses"
                | "messages"
                | "generate_content"
                | "stream_generate_content"
        )
    }

    fn matches<'p>(&'static self, path: &'p str) -> Option<Matched<'p>> {
        let mut model = None;
        let mut parts = path.split('/');
        for segment in self.path {
            let part = parts.next().filter(|part| !part.is_empty())?;
            match segment {
                Is(text) if part == *text => {}
                Is(_) => return None,
                Any => {}
                Model => model = Some(part),
                ModelVerb(verb) => {
                    let (name, found) = part.rsplit_once(':')?;
                    if found != *verb || name.is_empty() {
                        return None;
                    }
                    model = Some(name);
                }
            }
        }
        parts.next().is_none().then_some(Matched { operation: self, model })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_one_operation() {
        let found = find(Dialect::Gemini, "POST", "/v1beta/models/gemini-2.5-pro:generateContent");
        let found = found.expect("in the table");
        assert_eq!((found.operation.name, found.model), ("generate_content", Some("gemini-2.5-pro")));
        let found = find(Dialect::OpenAi, "GET", "/v1/models/ft:gpt-4o:org::id").expect("in the table");
        assert_eq!((found.operation.name, found.model), ("models.get", Some("ft:gpt-4o:org::id")));
    }

    #[test]
    fn what_is_not_in_the_table_does_not_exist() {
        for (dialect, method, path) in [
            (Dialect::OpenAi, "GET", "/v1/chat/completions"),
            (Dialect::OpenAi, "POST", "/v1/chat/completions/extra"),
            (Dialect::OpenAi, "POST", "/v1/fine_tuning/jobs"),
            (Dialect::OpenAi, "GET", "/v1/organization/admin_api_keys"),
            (Dialect::Anthropic, "POST", "/messages"),
            (Dialect::Gemini, "POST", "/v2/models/x:generateContent"),
            (Dialect::Gemini, "POST", "/v1beta/models/:generateContent"),
            (Dialect::Gemini, "POST", "/v1beta/models/x:tuneModel"),
        ] {
            assert!(find(dialect, method, path).is_none(), "{method} {path}");
        }
    }
}
