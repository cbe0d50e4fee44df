//! A PKCS#11 module: the shared library, and the one thread that may call it.
//!
//! `C_Initialize` and `C_Finalize` are the process's, not a caller's: roots on the same module share
//! one. A module is loaded once and stays until the process ends.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
};

use super::worker::Worker;

/// The modules of this process, by the path of their file.
static LOADED: Mutex<Vec<(PathBuf, Arc<Worker<Module>>)>> = Mutex::new(Vec::new());

/// Why a module is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum InvalidModule {
    /// There is no such file.
    #[error("the PKCS#11 module cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// The file is no PKCS#11 module, or not one for this machine.
    #[error("the file is no PKCS#11 module for this machine")]
    NoModule,
    /// There is no thread to call it from.
    #[error("no thread for the PKCS#11 module")]
    NoThread(#[source] std::io::Error),
}

/// The thread that calls the module at `path`, which is loaded if it is not yet.
pub(super) fn module(path: &Path) -> Result<Arc<Worker<Module>>, InvalidModule> {
    let path = path.canonicalize().map_err(InvalidModule::Unreadable)?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, worker)) = loaded.iter().find(|(known, _)| *known == path) {
        return Ok(Arc::clone(worker));
    }
    let library = Pkcs11::new(&path).map_err(|_| InvalidModule::NoModule)?;
    let module = Module { library, initialised: false, generation: 0 };
    let worker = Arc::new(Worker::start("pkcs11", module).map_err(InvalidModule::NoThread)?);
    loaded.push((path, Arc::clone(&worker)));
    Ok(worker)
}

/// The library. Only its thread has it.
pub(super) struct Module {
    library: Pkcs11,
    initialised: bool,
    generation: u64,
}

impl Module {
    /// The library, initialised.
    pub(super) fn ready(&mut self) -> Result<&Pkcs11, Error> {
        if !self.initialised {
            match self.library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
                Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
                Err(error) => return Err(error),
            }
            self.initialised = true;
        }
        Ok(&self.library)
    }

    /// Initialises it anew: some modules look only then which tokens there are. Ends all sessions.
    pub(super) fn restart(&mut self) -> Result<&Pkcs11, Error> {
        self.initialised = false;
        self.generation += 1;
        // If it does not go down, it may still come up.
        let _ = self.library.clone().finalize();
        self.ready()
    }

    /// How often it was initialised anew: a session of another generation is gone, and its handle may
    /// be somebody else's.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }
}
