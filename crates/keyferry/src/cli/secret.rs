//! Secrets a person or a script gives to a command: from standard input, never from the command
//! line, where every process could read them and the shell would remember them.

use std::{
    fs::File,
    io::{IsTerminal, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::{Context, bail, ensure};
use keyferry_envelope::SecretBytes;
use keyferry_kms::vault::is_open_to_others;

/// The longest secret.
const MAX: usize = 4096;

/// Reads a secret: a prompt on a terminal, else standard input to its end.
pub(super) fn read(prompt: &str) -> anyhow::Result<SecretBytes> {
    if std::io::stdin().is_terminal() {
        let typed =
            rpassword::prompt_password(format!("{prompt}: ")).context("cannot read from the terminal")?;
        return trimmed(typed.into_bytes(), "on standard input");
    }
    let mut bytes = Vec::with_capacity(MAX + 1);
    std::io::stdin().take(MAX as u64 + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    trimmed(bytes, "on standard input")
}

/// Reads a secret from a file, which can be a descriptor that was handed over (`/dev/fd/3`).
pub(super) fn from_file(path: &Path) -> anyhow::Result<SecretBytes> {
    from_open(path, open(path)?)
}

/// The same for what lives long: a file that others may use is refused.
pub(super) fn from_private_file(path: &Path) -> anyhow::Result<SecretBytes> {
    let file = open(path)?;
    let mode = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.mode();
    let (shown, mode_shown) = (path.display(), mode & 0o7777);
    ensure!(
        !is_open_to_others(mode),
        "{shown} has mode {mode_shown:04o}: others may use it. Run: chmod o= {shown}"
    );
    from_open(path, file)
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

fn from_open(path: &Path, file: File) -> anyhow::Result<SecretBytes> {
    let mut bytes = Vec::with_capacity(MAX + 1);
    let read = file.take(MAX as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    trimmed(bytes, &format!("from {}", path.display()))
}

fn trimmed(mut bytes: Vec<u8>, whence: &str) -> anyhow::Result<SecretBytes> {
    let (length, end) = (bytes.len(), bytes.trim_ascii_end().len());
    bytes.truncate(end);
    let secret = SecretBytes::new(bytes);
    ensure!(end > 0, "nothing came {whence}");
    ensure!(length <= MAX, "more than {MAX} bytes came {whence}");
    Ok(secret)
}

/// The token in an environment variable, or in the file that the variable of this name with
/// `_FILE` names. An environment can be read from outside as long as the process lives; a file
/// need not be.
pub(super) fn from_env(name: &str) -> anyhow::Result<Option<SecretBytes>> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let of_file = format!("{name}_FILE");
    match (given(name), given(&of_file)) {
        (None, None) => Ok(None),
        (Some(value), None) => Ok(Some(SecretBytes::new(value.into_encoded_bytes()))),
        (None, Some(path)) => from_file(Path::new(&path)).context(of_file).map(Some),
        (Some(_), Some(_)) => bail!("{name} and {of_file} are both set: one of them is enough"),
    }
}
