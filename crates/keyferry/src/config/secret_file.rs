//! Files that a setting with `_file` names: a secret on one line, which only its owner may read.

use std::{
    fs::OpenOptions,
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use keyferry_envelope::SecretBytes;

/// Reads the secret; one line feed behind it does not belong to it. What is wrong is said without quoting it.
pub(super) fn read(path: &Path, longest: usize) -> Result<SecretBytes, String> {
    let name = path.display();
    let unreadable = |error: std::io::Error| format!("cannot read {name}: {error}");
    // A named pipe must not be waited for.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(format!("{name} is no file"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!(
            "{name} has mode {:04o}: others may read it. Run: chmod 600",
            meta.mode() & 0o7777
        ));
    }
    let mut len = 0;
    // One byte more than the longest with its line feed, in a buffer that never grows and so is never copied.
    let line = SecretBytes::try_init(longest + 2, |bytes| {
        while len < bytes.len() {
            match file.read(&mut bytes[len..])? {
                0 => break,
                n => len += n,
            }
        }
        Ok(())
    })
    .map_err(unreadable)?;
    let line = &line.expose()[..len];
    let secret = line.strip_suffix(b"\n").unwrap_or(line);
    if secret.is_empty() || secret.len() > longest {
        return Err(format!("{name} must hold 1 to {longest} bytes on one line"));
    }
    Ok(SecretBytes::copy_of(secret))
}
