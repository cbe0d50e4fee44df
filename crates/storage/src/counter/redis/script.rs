//! The scripts: each is one step that nothing comes between, sent by its hash and as a whole to a server that lost it.

use std::sync::LazyLock;

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
pub(super) struct Call {
    script: &'static Script,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn of(script: &'static Script, keys: impl IntoIterator<Item = String>) -> Self {
        Self { script, keys: keys.into_iter().collect(), args: Vec::new() }
    }

    pub(super) fn text(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.args.push(text.into());
        self
    }

    /// A number. What is too large for the scripts is as large as they can count.
    pub(super) fn number(self, number: u64) -> Self {
        self.text(number.min(MOST).to_string())
    }

    /// `by_hash`, or with the script itself.
    pub(super) fn command(&self, generation: &str, by_hash: bool) -> Cmd {
        let mut command = Cmd::new();
        if by_hash {
            command.arg("EVALSHA").arg(&self.script.hash);
        } else {
            command.arg("EVAL").arg(&self.script.source);
        }
        command.arg(self.keys.len() + 1).arg(GENERATION).arg(&self.keys).arg(generation);
        for arg in &self.args {
            command.arg(arg.as_slice());
        }
        command
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
