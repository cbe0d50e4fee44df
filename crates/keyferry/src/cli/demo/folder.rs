//! A folder that is gone when the demo is.

use std::{
    fs,
    io::Read,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_envelope::Entropy;
use memchr::memmem;

/// A folder for its owner only.
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    pub(super) fn new(entropy: &dyn Entropy) -> anyhow::Result<Self> {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let path =
            std::env::temp_dir().join(format!("keyferry-demo-{}", data_encoding::HEXLOWER.encode(&bytes)));
        fs::DirBuilder::new().mode(0o700).create(&path).context("cannot make a folder for the demo")?;
        Ok(Self { path, keep: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// How many bytes the files of a folder have, and which of them holds the needle: as it is, in hex,
/// or in any of the three alignments of base64.
pub(super) fn search(folder: &Path, needle: &[u8]) -> anyhow::Result<(usize, Option<PathBuf>)> {
    let forms = forms(needle);
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        let mut bytes = Vec::new();
        fs::File::open(&path)?.read_to_end(&mut bytes)?;
        total += bytes.len();
        if forms.iter().any(|form| memmem::find(&bytes, form).is_some()) {
            return Ok((total, Some(path)));
        }
    }
    Ok((total, None))
}

fn forms(needle: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![needle.to_vec(), data_encoding::HEXLOWER.encode(needle).into_bytes()];
    for shift in 0..3 {
        let padded = [&vec![0; shift], needle].concat();
        let text = STANDARD.encode(padded).into_bytes();
        // The first and last groups depend on what stands around.
        forms.push(text[4.min(text.len())..text.len().saturating_sub(4)].to_vec());
    }
    forms
}
