//! Secrets a person or a script gives to a command: from standard input, never from the command
//! line, where every process could read them and the shell would remember them.

use std::io::{IsTerminal, Read};

use anyhow::{Context, ensure};
use keyferry_envelope::SecretBytes;

/// The longest secret.
const MAX: usize = 4096;

/// Reads a secret: a prompt on a terminal, else standard input to its end.
pub(super) fn read(prompt: &str) -> anyhow::Result<SecretBytes> {
    if std::io::stdin().is_terminal() {
        let typed =
            rpassword::prompt_password(format!("{prompt}: ")).context("cannot read from the terminal")?;
        return trimmed(typed.into_bytes());
    }
    let mut bytes = Vec::with_capacity(MAX + 1);
    std::io::stdin().take(MAX as u64 + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    trimmed(bytes)
}

fn trimmed(mut bytes: Vec<u8>) -> anyhow::Result<SecretBytes> {
    let (length, end) = (bytes.len(), bytes.trim_ascii_end().len());
    bytes.truncate(end);
    let secret = SecretBytes::new(bytes);
    ensure!(end > 0, "nothing came on standard input");
    ensure!(length <= MAX, "more than {MAX} bytes came on standard input");
    Ok(secret)
}

/// The token in an environment variable, if it is set.
pub(super) fn from_env(name: &str) -> Option<SecretBytes> {
    let value = std::env::var_os(name)?.into_encoded_bytes();
    (!value.is_empty()).then(|| SecretBytes::new(value))
}
