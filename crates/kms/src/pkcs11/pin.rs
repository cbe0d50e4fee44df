//! The file with the user's PIN.

use std::{
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use keyferry_envelope::SecretBytes;

use crate::file;

/// Longer than any token takes.
const MAX: usize = 255;

/// Why there is no PIN.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPinFile {
    /// The file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// Others may read the file.
    #[error("{0} has mode {1:04o}: others may read it. Its mode must be 0600 or 0400")]
    Mode(PathBuf, u32),
    /// The file does not hold a PIN.
    #[error("{0} must hold 1 to 255 bytes, and may have one line feed after them")]
    Length(PathBuf),
}

/// Reads the PIN; one line feed after it does not belong to it.
pub(super) fn read(path: &Path) -> Result<SecretBytes, InvalidPinFile> {
    let io = |error| InvalidPinFile::Unreadable(path.to_owned(), error);
    let (mut file, meta) = file::open(path).map_err(io)?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(InvalidPinFile::Mode(path.to_owned(), mode));
    }
    let mut len = 0;
    // One byte more than a valid file can have, in a buffer that never grows and so is never copied.
    let line = SecretBytes::try_init(MAX + 2, |bytes| -> io::Result<()> {
        while len < bytes.len() {
            match file.read(&mut bytes[len..])? {
                0 => break,
                n => len += n,
            }
        }
        Ok(())
    })
    .map_err(io)?;
    let line = &line.expose()[..len];
    let pin = line.strip_suffix(b"\n").unwrap_or(line);
    if pin.is_empty() || pin.len() > MAX {
        return Err(InvalidPinFile::Length(path.to_owned()));
    }
    Ok(SecretBytes::init(pin.len(), |bytes| bytes.copy_from_slice(pin)))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn file(content: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), content).expect("written");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).expect("mode");
        file
    }

    #[test]
    fn a_pin_ends_before_one_line_feed() {
        for content in [b"1234".as_slice(), b"1234\n"] {
            let pin = read(file(content, 0o600).path()).expect("a PIN");
            assert_eq!(pin.expose(), b"1234");
        }
        assert_eq!(read(file(b"1234\n\n", 0o400).path()).expect("a PIN").expose(), b"1234\n");
        assert_eq!(read(file(&[b'1'; 255], 0o600).path()).expect("a PIN").expose(), &[b'1'; 255]);
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for content in [b"".as_slice(), b"\n", &[b'1'; 256], &[b'1'; 5000]] {
            assert!(matches!(read(file(content, 0o600).path()), Err(InvalidPinFile::Length(_))));
        }
        assert!(matches!(read(Path::new("/nonexistent/pin")), Err(InvalidPinFile::Unreadable(..))));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o644, 0o660] {
            let refused = read(file(b"1234", mode).path()).err();
            assert!(matches!(refused, Some(InvalidPinFile::Mode(_, found)) if found == mode), "{mode:o}");
        }
    }
}
