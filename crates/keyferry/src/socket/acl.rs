//! An access list for a socket: exactly who the policy admits may reach it, also users and groups
//! that are not the owner's (acl(5)).

use std::path::Path;

use rustix::{
    fs::{XattrFlags, lsetxattr},
    io,
};

use super::policy::Policy;

/// The attribute in which the kernel takes a list, and the version of its form.
const ATTRIBUTE: &str = "system.posix_acl_access";
const VERSION: u32 = 2;

/// Kinds of entries, in the order in which they must stand.
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// To connect to a socket is to write to it; to read is asked by nobody, and usual.
const READ_WRITE: u16 = 6;
const NOTHING: u16 = 0;
/// For entries that name nobody.
const NOBODY: u32 = u32::MAX;

/// Lets whoever the policy names through to a file, beside its owner.
pub(super) fn grant(path: &Path, policy: &Policy, owner: u32) -> io::Result<()> {
    lsetxattr(path, ATTRIBUTE, &encode(policy, owner), XattrFlags::empty())
}

fn encode(policy: &Policy, owner: u32) -> Vec<u8> {
    let users = policy.uids.iter().filter(|uid| **uid != owner).map(|uid| (USER, READ_WRITE, *uid));
    let groups = policy.gids.iter().map(|gid| (GROUP, READ_WRITE, *gid));
    let entries = [(OWNER, READ_WRITE, NOBODY)]
        .into_iter()
        .chain(users)
        .chain([(OWNING_GROUP, NOTHING, NOBODY)])
        .chain(groups)
        .chain([(MASK, READ_WRITE, NOBODY), (OTHERS, NOTHING, NOBODY)]);
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, may, who) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&may.to_le_bytes());
        bytes.extend_from_slice(&who.to_le_bytes());
    }
    bytes
}
