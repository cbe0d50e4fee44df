//! The scripts: each is one step that nothing comes between, sent by its hash and as a whole to a server that lost it.

use std::sync::LazyLock;

use itoa::{Buffer, Integer};
use redis::{Cmd, Value};

/// A script that begins with the check of the generation.
pub(super) struct Script {
    pub(super) source: String,
    pub(super) hash: String,
}

impl Script {
    fn of(parts: &[&str]) -> Self {
        let source = parts.join("\n");
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }
}

macro_rules! lua {
    ($($name:literal),+) => { Script::of(&[$(include_str!(concat!("lua/", $name, ".lua"))),+]) };
}

/// All of them.
pub(super) struct Scripts {
    pub(super) generation: Script,
    pub(super) decide: Script,
    pub(super) read_epoch: Script,
    pub(super) move_epoch: Script,
    pub(super) reserve: Script,
    pub(super) settle: Script,
    pub(super) renew: Script,
    pub(super) standing: Script,
    pub(super) quota: Script,
    pub(super) draw: Script,
    pub(super) ping: Script,
}

pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    generation: lua!("generation"),
    decide: lua!("head", "epoch", "bucket", "account", "decide"),
    read_epoch: lua!("head", "epoch", "read_epoch"),
    move_epoch: lua!("head", "epoch", "move_epoch"),
    reserve: lua!("head", "account", "reserve"),
    settle: lua!("head", "account", "settle"),
    renew: lua!("head", "account", "renew"),
    standing: lua!("head", "account", "standing"),
    quota: lua!("head", "quota"),
    draw: lua!("head", "bucket", "draw"),
    ping: lua!("head", "ping"),
});

impl Scripts {
    pub(super) fn all(&self) -> [&Script; 11] {
        let Self {
            generation,
            decide,
            read_epoch,
            move_epoch,
            reserve,
            settle,
            renew,
            standing,
            quota,
            draw,
            ping,
        } = self;
        [generation, decide, read_epoch, move_epoch, reserve, settle, renew, standing, quota, draw, ping]
    }
}

/// Where the generation stands.
pub(super) const GENERATION: &str = "kf:generation";

/// One use of a script. Its first key is the generation, and its first argument the one that the gateway knows.
///
/// The keys and arguments stand behind one another in one buffer: there are many of them, and all are short.
pub(super) struct Call {
    script: &'static Script,
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// How many of them are keys.
    keys: usize,
}

/// What a script is told: a key or an argument.
pub(super) trait Word {
    /// Adds its bytes.
    fn put(&self, bytes: &mut Vec<u8>);
}

impl Word for [u8] {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self);
    }
}

impl Word for str {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_bytes().put(bytes);
    }
}

impl Word for String {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_str().put(bytes);
    }
}

impl<W: Word + ?Sized> Word for &W {
    fn put(&self, bytes: &mut Vec<u8>) {
        (**self).put(bytes);
    }
}

/// What most calls have room in: words, and their bytes.
const USUAL_WORDS: usize = 32;
const USUAL_BYTES: usize = 512;

impl Call {
    pub(super) fn of(script: &'static Script, keys: impl IntoIterator<Item = impl Word>) -> Self {
        let (bytes, ends) = (Vec::with_capacity(USUAL_BYTES), Vec::with_capacity(USUAL_WORDS));
        Self { script, bytes, ends, keys: 0 }.keys(keys)
    }

    /// More keys. All come before the first argument.
    pub(super) fn keys(mut self, keys: impl IntoIterator<Item = impl Word>) -> Self {
        for key in keys {
            self = self.word(key);
            self.keys += 1;
        }
        self
    }

    pub(super) fn text(self, text: impl AsRef<str>) -> Self {
        self.word(text.as_ref())
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.word(bytes)
    }

    /// As it is.
    pub(super) fn integer(self, integer: impl Integer) -> Self {
        self.word(Buffer::new().format(integer))
    }

    /// A number. What is too large for the scripts is as large as they can count.
    pub(super) fn number(self, number: u64) -> Self {
        self.integer(number.min(MOST))
    }

    fn word(mut self, word: impl Word) -> Self {
        word.put(&mut self.bytes);
        self.ends.push(self.bytes.len());
        self
    }

    /// `by_hash`, or with the script itself.
    pub(super) fn command(&self, generation: &str, by_hash: bool) -> Cmd {
        let (name, script) =
            if by_hash { ("EVALSHA", &self.script.hash) } else { ("EVAL", &self.script.source) };
        let room = self.bytes.len() + script.len() + generation.len() + USUAL_WORDS;
        let mut command = Cmd::with_capacity(self.ends.len() + 5, room);
        command.arg(name).arg(script).arg(self.keys + 1).arg(GENERATION);
        let mut words = self.words();
        for key in words.by_ref().take(self.keys) {
            command.arg(key);
        }
        command.arg(generation);
        for argument in words {
            command.arg(argument);
        }
        command
    }

    fn words(&self) -> impl Iterator<Item = &[u8]> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.bytes[begin..end])
    }
}

/// The largest number that a double counts exactly.
pub(super) const MOST: u64 = (1 << 53) - 1;

/// What a script answered: a word, and what belongs to it.
pub(super) struct Answer(Vec<Value>);

impl Answer {
    pub(super) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Array(values) => Some(Self(values)),
            _ => None,
        }
    }

    pub(super) fn word(&self) -> &str {
        self.text(0).unwrap_or_default()
    }

    pub(super) fn text(&self, at: usize) -> Option<&str> {
        match self.0.get(at)? {
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A number, however it is written; `None` for a negative one too.
    pub(super) fn number(&self, at: usize) -> Option<u64> {
        match self.0.get(at)? {
            Value::Int(number) => u64::try_from(*number).ok(),
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Whether there is −1 for no number.
    pub(super) fn has_none(&self, at: usize) -> bool {
        matches!(self.0.get(at), Some(Value::Int(-1)))
    }
}
