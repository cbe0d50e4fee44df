//! The paths of each dialect's answers that are worth reading. Never a search by name alone: a `usage` object counts
//! only where the provider writes it, not in a tool call's arguments.

use crate::dialect::Dialect;

/// Where in an answer a value stands. Arrays are transparent: an element stands where its array does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing to read here or below.
    Elsewhere,
    Root,
    /// `response` of OpenAI's and `message` of Anthropic's events: holds the answer as it stands.
    Wrapper,
    /// Counts that include all output.
    Usage,
    /// Counts written before there was output.
    EarlyUsage,
    InputDetails,
    /// One answer of several.
    Choice,
    /// Holds generated text under several names.
    Message,
    ToolCall,
    Function,
    Feedback,
    /// Generated text, or a container with it.
    Text,
    /// The name of the event's kind.
    Kind,
    Model,
    /// Present means that the request failed.
    Error,
    /// Present means that the generation is over.
    Finish,
    Count(Count),
}

/// A number that providers report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Input,
    CachedInput,
    /// Written to a cache, and not in `Input`.
    CacheCreation,
    /// Results of the provider's own tools, and not in `Input`.
    ToolInput,
    Output,
    /// Hidden reasoning, and not in `Output`.
    Thoughts,
    Total,
}

impl Place {
    /// Where the value of `key` stands, in an object that stands here. Keys with JSON escapes are not recognised: no
    /// provider writes them.
    pub(super) fn child(self, dialect: Dialect, key: &[u8]) -> Self {
        match dialect {
            Dialect::OpenAi => self.openai(key),
            Dialect::Anthropic => self.anthropic(key),
            Dialect::Gemini => self.gemini(key),
        }
    }

    fn openai(self, key: &[u8]) -> Self {
        match (self, key) {
            (Self::Root, b"type") => Self::Kind,
            (Self::Root | Self::Wrapper, b"model") => Self::Model,
            (Self::Root | Self::Wrapper, b"error") => Self::Error,
            (Self::Root | Self::Wrapper, b"usage") => Self::Usage,
            (Self::Root, b"choices") => Self::Choice,
            (Self::Root, b"response") => Self::Wrapper,
            (Self::Root, b"output") | (Self::Choice, b"delta" | b"message") => Self::Message,
            (Self::Message, b"tool_calls") => Self::ToolCall,
            (Self::Message, b"function_call") | (Self::ToolCall, b"function") => Self::Function,
            (Self::Root, b"delta")
            | (Self::Choice | Self::Text, b"text")
            | (Self::Text, b"refusal")
            | (Self::Message, b"content" | b"refusal" | b"reasoning" | b"reasoning_content" | b"arguments")
            | (Self::Function, b"name" | b"arguments") => Self::Text,
            (Self::Usage, b"prompt_tokens" | b"input_tokens") => Self::Count(Count::Input),
            (Self::Usage, b"completion_tokens" | b"output_tokens") => Self::Count(Count::Output),
            (Self::Usage, b"total_tokens") => Self::Count(Count::Total),
            (Self::Usage, b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details") => {
                Self::InputDetails
            }
            (Self::InputDetails, b"cached_tokens") => Self::Count(Count::CachedInput),
            _ => Self::Elsewhere,
        }
    }

    fn anthropic(self, key: &[u8]) -> Self {
        match (self, key) {
            (Self::Root, b"type") => Self::Kind,
            (Self::Root | Self::Wrapper, b"model") => Self::Model,
            (Self::Root, b"error") => Self::Error,
            (Self::Root, b"usage") => Self::Usage,
            (Self::Root, b"message") => Self::Wrapper,
            (Self::Wrapper, b"usage") => Self::EarlyUsage,
            (Self::Root, b"delta" | b"content") => Self::Message,
            (Self::Message, b"text" | b"thinking" | b"partial_json") => Self::Text,
            (Self::Usage | Self::EarlyUsage, b"input_tokens") => Self::Count(Count::Input),
            (Self::Usage | Self::EarlyUsage, b"cache_read_input_tokens") => Self::Count(Count::CachedInput),
            (Self::Usage | Self::EarlyUsage, b"cache_creation_input_tokens") => {
                Self::Count(Count::CacheCreation)
            }
            (Self::Usage | Self::EarlyUsage, b"output_tokens") => Self::Count(Count::Output),
            _ => Self::Elsewhere,
        }
    }

    fn gemini(self, key: &[u8]) -> Self {
        match (self, key) {
            (Self::Root, b"modelVersion") => Self::Model,
            (Self::Root, b"error") => Self::Error,
            (Self::Root, b"usageMetadata") => Self::Usage,
            (Self::Root, b"candidates") => Self::Choice,
            (Self::Root, b"promptFeedback") => Self::Feedback,
            (Self::Choice, b"finishReason") | (Self::Feedback, b"blockReason") => Self::Finish,
            (Self::Choice, b"content") => Self::Message,
            (Self::Message, b"parts") | (Self::Text, b"text") => Self::Text,
            (Self::Usage, b"promptTokenCount") => Self::Count(Count::Input),
            (Self::Usage, b"cachedContentTokenCount") => Self::Count(Count::CachedInput),
            (Self::Usage, b"toolUsePromptTokenCount") => Self::Count(Count::ToolInput),
            (Self::Usage, b"candidatesTokenCount") => Self::Count(Count::Output),
            (Self::Usage, b"thoughtsTokenCount") => Self::Count(Count::Thoughts),
            _ => Self::Elsewhere,
        }
    }
}
