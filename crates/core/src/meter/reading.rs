//! Adds up what the scanner finds and decides what it means. Never counts a failed request's error text as output.

use crate::{
    dialect::Dialect,
    usage::{TokenUsage, UsageSource, estimate_tokens},
};

use super::{
    Metered,
    place::{Count, Place},
};

#[derive(Debug)]
pub(super) struct Reading {
    dialect: Dialect,
    counts: Counts,
    /// Counts of the object that is open: they are taken when it closes, so that a cut inside it takes none.
    staged: Counts,
    /// The counts include all output, so that no estimate can be better.
    settled: bool,
    model: Option<String>,
    output_bytes: u64,
    /// The provider began to generate, so that the prompt is consumed whatever follows.
    began: bool,
    failed: bool,
    ended: bool,
    event: Event,
}

/// What is known of the event under way.
#[derive(Debug, Default)]
struct Event {
    text: u64,
    /// The text is encoded audio.
    binary: bool,
    terminal: bool,
    failed: bool,
}

impl Reading {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            counts: Counts::default(),
            staged: Counts::default(),
            settled: false,
            model: None,
            output_bytes: 0,
            began: false,
            failed: false,
            ended: false,
            event: Event::default(),
        }
    }

    pub(super) fn has_model(&self) -> bool {
        self.model.is_some()
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    pub(super) fn entered(&mut self, place: Place, is_object: bool) {
        match place {
            Place::Usage | Place::EarlyUsage => self.staged = Counts::default(),
            Place::Choice | Place::Wrapper => self.began = true,
            Place::Error if is_object => self.fail(),
            _ => {}
        }
    }

    pub(super) fn left(&mut self, place: Place) {
        if matches!(place, Place::Usage | Place::EarlyUsage) && self.counts.merge(&self.staged) {
            // Gemini reports as it goes; there the end of the stream tells.
            self.settled |= place == Place::Usage && self.dialect != Dialect::Gemini;
        }
    }

    pub(super) fn count(&mut self, count: Count, value: u64) {
        self.staged.set(count, value);
    }

    pub(super) fn text(&mut self, bytes: usize) {
        self.event.text += bytes as u64;
    }

    /// A short string; `None` if it was too long or escaped to be read.
    pub(super) fn value(&mut self, place: Place, value: Option<&[u8]>) {
        let is_present = value.is_none_or(|value| !value.is_empty());
        match (place, value) {
            (Place::Kind, Some(kind)) => self.kind(kind),
            (Place::Model, Some(model)) if is_present => {
                self.model = std::str::from_utf8(model).ok().map(str::to_owned);
            }
            (Place::Error, _) if is_present => self.fail(),
            (Place::Finish, _) if is_present => self.event.terminal = true,
            _ => {}
        }
    }

    /// The kind of the event, from its data or from the `event` field before it.
    pub(super) fn kind(&mut self, kind: &[u8]) {
        match (self.dialect, kind) {
            (Dialect::Gemini, _) => {}
            (_, b"error") | (Dialect::OpenAi, b"response.failed") => self.fail(),
            (Dialect::Anthropic, b"message_stop")
            | (
                Dialect::OpenAi,
                b"response.completed"
                | b"response.incomplete"
                | b"transcript.text.done"
                | b"speech.audio.done"
                | b"image_generation.completed"
                | b"image_edit.completed",
            ) => self.event.terminal = true,
            (Dialect::OpenAi, kind) if kind.ends_with(b"audio.delta") => self.event.binary = true,
            _ => {}
        }
    }

    fn fail(&mut self) {
        self.event.terminal = true;
        self.event.failed = true;
    }

    /// `[DONE]`, which only OpenAI's dialect has.
    pub(super) fn end_mark(&mut self) {
        self.ended |= self.dialect == Dialect::OpenAi;
    }

    /// The event is over; `whole` if its data was a complete JSON text and it will reach the caller's reader.
    pub(super) fn end_event(&mut self, whole: bool) {
        let event = std::mem::take(&mut self.event);
        self.ended |= whole && event.terminal;
        self.failed |= whole && event.failed;
        if !event.binary {
            self.output_bytes += event.text;
        }
    }

    pub(super) fn finish(self, ended: bool) -> Metered {
        let estimate = estimate_tokens(usize::try_from(self.output_bytes).unwrap_or(usize::MAX));
        let settled = self.settled || (self.dialect == Dialect::Gemini && ended);
        let (usage, source) = match self.counts.usage(self.dialect) {
            Some(usage) if settled || usage.output >= estimate => (usage, UsageSource::Reported),
            // Cut before the provider told what it generated: it will bill that all the same.
            Some(usage) => (TokenUsage { output: estimate, ..usage }, UsageSource::Estimated),
            None if self.output_bytes > 0 || (self.began && !self.failed) => {
                (TokenUsage { output: estimate, ..TokenUsage::default() }, UsageSource::Estimated)
            }
            None => (TokenUsage::default(), UsageSource::None),
        };
        Metered {
            usage,
            source,
            model: self.model,
            ended,
            failed: self.failed,
            output_bytes: self.output_bytes,
        }
    }
}

/// The last value of each count; streams report cumulatively and may leave out what did not change.
#[derive(Debug, Default)]
struct Counts {
    input: Option<u64>,
    cached_input: Option<u64>,
    cache_creation: Option<u64>,
    tool_input: Option<u64>,
    output: Option<u64>,
    thoughts: Option<u64>,
    total: Option<u64>,
}

impl Counts {
    fn set(&mut self, count: Count, value: u64) {
        let field = match count {
            Count::Input => &mut self.input,
            Count::CachedInput => &mut self.cached_input,
            Count::CacheCreation => &mut self.cache_creation,
            Count::ToolInput => &mut self.tool_input,
            Count::Output => &mut self.output,
            Count::Thoughts => &mut self.thoughts,
            Count::Total => &mut self.total,
        };
        *field = Some(value);
    }

    /// Takes over what `newer` has; whether it had counts that mean anything alone.
    fn merge(&mut self, newer: &Self) -> bool {
        self.input = newer.input.or(self.input);
        self.cached_input = newer.cached_input.or(self.cached_input);
        self.cache_creation = newer.cache_creation.or(self.cache_creation);
        self.tool_input = newer.tool_input.or(self.tool_input);
        self.output = newer.output.or(self.output);
        self.thoughts = newer.thoughts.or(self.thoughts);
        self.total = newer.total.or(self.total);
        newer.input.is_some() || newer.output.is_some()
    }

    fn usage(&self, dialect: Dialect) -> Option<TokenUsage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let [input, cached, output] =
            [self.input, self.cached_input, self.output].map(Option::unwrap_or_default);
        let (input, output) = match dialect {
            // Some compatible endpoints leave hidden reasoning out of the completion and show it only in the total.
            Dialect::OpenAi => (input, output.max(self.total.unwrap_or_default().saturating_sub(input))),
            Dialect::Anthropic => (input + cached + self.cache_creation.unwrap_or_default(), output),
            Dialect::Gemini => {
                (input + self.tool_input.unwrap_or_default(), output + self.thoughts.unwrap_or_default())
            }
        };
        Some(TokenUsage { input, cached_input: cached.min(input), output })
    }
}
