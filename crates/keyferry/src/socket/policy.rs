//! Who may connect. The kernel says who is at the other end; what a peer says about itself counts
//! for nothing.

use std::collections::BTreeSet;

/// Who is at the other end, as it was when it connected (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group; its further groups are not seen.
    pub gid: u32,
}

/// Users and groups that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Users.
    pub uids: BTreeSet<u32>,
    /// Groups.
    pub gids: BTreeSet<u32>,
}

impl Policy {
    /// These users and groups; if none are named, `own` alone.
    pub fn new(uids: &[u32], gids: &[u32], own: u32) -> Self {
        let mut policy = Self { uids: uids.iter().copied().collect(), gids: gids.iter().copied().collect() };
        if policy.uids.is_empty() && policy.gids.is_empty() {
            policy.uids.insert(own);
        }
        policy
    }

    /// Whether this peer may.
    pub fn admits(&self, peer: Peer) -> bool {
        self.uids.contains(&peer.uid) || self.gids.contains(&peer.gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_only_the_own_user_may() {
        let policy = Policy::new(&[], &[], 7);
        assert!(policy.admits(Peer { uid: 7, gid: 1 }));
        for uid in [0, 1, 8] {
            assert!(!policy.admits(Peer { uid, gid: 7 }), "{uid}");
        }
    }

    #[test]
    fn who_is_named_may_and_nobody_else() {
        let policy = Policy::new(&[1001], &[2001], 7);
        assert!(policy.admits(Peer { uid: 1001, gid: 5 }));
        assert!(policy.admits(Peer { uid: 5, gid: 2001 }));
        for (uid, gid) in [(7, 7), (0, 0), (2001, 1001)] {
            assert!(!policy.admits(Peer { uid, gid }), "{uid} {gid}");
        }
    }
}
