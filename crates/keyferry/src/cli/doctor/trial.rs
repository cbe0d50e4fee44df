//! Tries out what the kernel refuses to a confined thread, instead of believing what it says.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    process::{Command, Stdio},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, connect, socket},
};

use crate::harden::{Confinement, Grants, HardenError, confine_thread};

/// What was refused to a thread that was granted nothing.
pub(super) struct Trial {
    /// What the kernel said that it holds the thread to.
    pub(super) confinement: Confinement,
    /// To list a folder.
    pub(super) folder_refused: bool,
    /// To connect to a port.
    pub(super) port_refused: bool,
    /// To run a program.
    pub(super) program_refused: bool,
}

/// Confines a thread and lets it try.
pub(super) fn trial() -> Result<Trial, HardenError> {
    let thread = std::thread::spawn(|| {
        let grants = Grants { bind: Some(BTreeSet::new()), ..Grants::default() };
        let program = std::env::current_exe();
        let confinement = confine_thread(&grants)?;
        Ok(Trial {
            confinement,
            folder_refused: refused(std::fs::read_dir("/"), Errno::ACCESS),
            port_refused: refused(knock().map_err(io::Error::from), Errno::ACCESS),
            program_refused: program.is_ok_and(|program| {
                let mut command = Command::new(program);
                command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                refused(command.status(), Errno::PERM)
            }),
        })
    });
    thread.join().unwrap_or(Err(HardenError::Rules("the trial broke off".to_owned())))
}

fn refused<T>(outcome: io::Result<T>, with: Errno) -> bool {
    outcome.err().and_then(|error| error.raw_os_error()) == Some(with.raw_os_error())
}

/// Port 1 of this machine. Whether anybody answers does not matter.
fn knock() -> rustix::io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1))
}
