//! Landlock: the files and TCP ports that the kernel lets the process use (landlock(7)).
//!
//! Best effort: an older kernel knows less of it, and the answer says how much holds.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, make_bitflags,
};
use std::path::Path;

use super::Grants;

/// The newest version whose rules were tried with this program. A newer kernel's further rules
/// stay unused until they were.
const TRIED: ABI = ABI::V7;
/// The first version that knows about TCP ports.
const WITH_PORTS: ABI = ABI::V4;

/// How much holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All that was asked for.
    Whole,
    /// A part: the kernel is older.
    Part,
    /// Nothing.
    None,
}

impl Extent {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Part => "part",
            Self::None => "none",
        }
    }
}

/// What Landlock holds the process to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landlock {
    /// The kernel's version of it; 0 if it has none, or none was used.
    pub abi: i32,
    /// Files.
    pub files: Extent,
    /// TCP ports.
    pub ports: Extent,
    /// Files and connections were left free, for a hardware module.
    pub freed: bool,
}

/// Restricts the calling thread, and those it starts.
pub(super) fn restrict(grants: &Grants) -> Result<Landlock, RulesetError> {
    let freed = grants.module;
    if freed && grants.bind.is_none() {
        // Nothing is left to restrict, and the kernel takes no empty ruleset.
        return Ok(Landlock { abi: 0, files: Extent::None, ports: Extent::None, freed });
    }
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if !freed {
        ruleset = ruleset
            .handle_access(AccessFs::from_all(TRIED))?
            .handle_access(AccessNet::ConnectTcp)?
            .scope(Scope::from_all(TRIED))?;
    }
    if grants.bind.is_some() {
        ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
    }
    let mut ruleset = ruleset.create()?;
    if !freed {
        ruleset = allow_files(ruleset, grants)?;
        for port in &grants.connect {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    for port in grants.bind.iter().flatten() {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    let status = ruleset.restrict_self()?;
    let holds = extent(&status.ruleset, status.landlock);
    Ok(if freed { holds.with_a_module() } else { holds })
}

impl Landlock {
    /// What is left of it: the ports that may be bound.
    fn with_a_module(self) -> Self {
        let ports = if self.ports == Extent::None { Extent::None } else { Extent::Part };
        Self { files: Extent::None, ports, freed: true, ..self }
    }
}

fn allow_files(mut ruleset: RulesetCreated, grants: &Grants) -> Result<RulesetCreated, RulesetError> {
    for path in grants.readable() {
        ruleset = allow(ruleset, &path, AccessFs::ReadFile | AccessFs::ReadDir)?;
    }
    for folder in &grants.write {
        ruleset = allow(ruleset, folder, WRITE)?;
    }
    for folder in &grants.sockets {
        ruleset = allow(ruleset, folder, SOCKETS)?;
    }
    ruleset = allow(ruleset, Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile)?;
    allow(ruleset, Path::new("/dev/urandom"), AccessFs::ReadFile.into())
}

/// All that is done with a database and a key file. No devices, links or folders are made, and
/// nothing is executed.
const WRITE: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | MakeReg | RemoveFile | Truncate});

/// To hold the folder, and to make, move and remove sockets in it.
const SOCKETS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadDir | MakeSock | RemoveFile});

/// What is not there needs no rule: whoever opens it is told so by the kernel.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(place) = PathFd::new(path) else { return Ok(ruleset) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(TRIED) };
    ruleset.add_rule(PathBeneath::new(place, access))
}

fn extent(ruleset: &RulesetStatus, landlock: LandlockStatus) -> Landlock {
    let LandlockStatus::Available { effective_abi, kernel_abi } = landlock else {
        return Landlock { abi: 0, files: Extent::None, ports: Extent::None, freed: false };
    };
    let files = match ruleset {
        RulesetStatus::FullyEnforced => Extent::Whole,
        RulesetStatus::PartiallyEnforced => Extent::Part,
        RulesetStatus::NotEnforced => Extent::None,
    };
    let ports = if effective_abi < WITH_PORTS { Extent::None } else { Extent::Whole };
    Landlock { abi: kernel_abi.unwrap_or(effective_abi as i32), files, ports, freed: false }
}
