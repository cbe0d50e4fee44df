//! Opens a file that a configuration names, if it is one: whatever else lies there, nobody waits for it.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

/// Opens it to read. A pipe that nobody writes to would otherwise hold up whoever opens it, for ever.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok((file, meta))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_pipe_and_a_folder_are_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
        for path in [pipe.as_path(), folder.path()] {
            let refused = open(path).expect_err("no file");
            assert_eq!(refused.to_string(), "it is no regular file");
        }
    }
}
