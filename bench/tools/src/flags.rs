//! `--name value` on the command line; a name may come more than once.

use std::str::FromStr;

use anyhow::{Context, anyhow, bail};

/// What was given.
pub struct Flags(Vec<(String, String)>);

impl Flags {
    /// Reads the command line; refuses names that are not `known`.
    pub fn read(known: &[&str]) -> anyhow::Result<Self> {
        let mut given = Vec::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let name = argument.strip_prefix("--").filter(|name| known.contains(name));
            let Some(name) = name else { bail!("{argument:?} is none of --{}", known.join(", --")) };
            let value = arguments.next().with_context(|| format!("--{name} needs a value"))?;
            given.push((name.to_owned(), value));
        }
        Ok(Self(given))
    }

    /// Every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a name, as a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a name.
    pub fn get<T: FromStr>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let parse = |text: &str| text.parse().map_err(|_| anyhow!("--{name} cannot be {text:?}"));
        self.text(name).map(parse).transpose()
    }

    /// The value of a name, or another.
    pub fn or<T: FromStr>(&self, name: &str, default: T) -> anyhow::Result<T> {
        Ok(self.get(name)?.unwrap_or(default))
    }

    /// The value of a name that must be given.
    pub fn need<T: FromStr>(&self, name: &str) -> anyhow::Result<T> {
        self.get(name)?.with_context(|| format!("--{name} is needed"))
    }
}
