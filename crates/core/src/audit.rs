//! The audit log: a hash chain in which deleting, changing or moving a row is found and named.
//!
//! Each row's `hash` is SHA-256 over the row before it and its own fields, so anybody who has an
//! export can check the order. Each row's `mac` is an HMAC over that hash under a key that is not
//! in the database, so whoever can only write the database cannot make a new chain. The head
//! (count and last hash, under the same key) shows a cut at the end.

use aws_lc_rs::digest;
use keyferry_envelope::MacKey;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What happened, before it has its place in the chain.
#[derive(Clone, Debug)]
pub struct AuditDraft {
    /// When.
    pub at: Timestamp,
    /// Who: `operator`, a token id, or `system`.
    pub actor: String,
    /// What, as `noun.verb`.
    pub action: &'static str,
    /// In whose name.
    pub tenant: Option<String>,
    /// On what: the id of a credential, token, issuer or tenant.
    pub target: String,
    /// From where: the address of the client.
    pub source: String,
    /// More, as JSON. Never a key, nor part of one.
    pub detail: serde_json::Value,
}

/// A row of the log.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct AuditRow {
    /// Counts from 1 without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// In whose name.
    pub tenant: Option<String>,
    /// On what.
    pub target: String,
    /// From where.
    pub source: String,
    /// More, as JSON text.
    pub detail: String,
    /// The hash of the row before, in hex; zeros for the first.
    pub prev_hash: String,
    /// The hash of this row, in hex.
    pub hash: String,
    /// The proof that the gateway wrote that hash, in hex.
    pub mac: String,
}

/// The end of the chain, as the store keeps it beside the rows.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct AuditHead {
    /// The last row's number.
    pub seq: i64,
    /// The last row's hash.
    pub hash: String,
    /// The proof over both.
    pub mac: String,
}

/// Extends and checks chains.
pub struct AuditChain {
    key: MacKey,
}

/// What stands before the first row.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl AuditChain {
    /// Under this key, which the database must not hold.
    pub fn new(key: MacKey) -> Self {
        Self { key }
    }

    /// The head of a log without rows. A store has one from its first moment on, so that a log
    /// that was emptied cannot pass for a new one.
    pub fn begin(&self) -> AuditHead {
        self.head(0, GENESIS.to_owned())
    }

    fn head(&self, seq: i64, hash: String) -> AuditHead {
        let mac = hex(&self.key.sign(&[b"head", &seq.to_be_bytes(), hash.as_bytes()]));
        AuditHead { seq, hash, mac }
    }

    /// Gives a draft its place after `head`.
    pub fn extend(&self, head: &AuditHead, draft: AuditDraft) -> (AuditRow, AuditHead) {
        let (seq, prev_hash) = (head.seq + 1, &head.hash);
        let mut row = AuditRow {
            seq,
            at: draft.at,
            actor: draft.actor,
            action: draft.action.to_owned(),
            tenant: draft.tenant,
            target: draft.target,
            source: draft.source,
            detail: draft.detail.to_string(),
            prev_hash: prev_hash.to_owned(),
            hash: String::new(),
            mac: String::new(),
        };
        row.hash = hash(&row);
        row.mac = hex(&self.key.sign(&[b"row", row.hash.as_bytes()]));
        let head = self.head(seq, row.hash.clone());
        (row, head)
    }

    /// Starts to check a chain from its first row.
    pub fn verify(&self) -> Verification<'_> {
        Verification { chain: self, seq: 0, hash: GENESIS.to_owned() }
    }
}

/// A row that is not as it was written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Broken {
    /// A number is missing, or comes in the wrong place.
    #[error("row {expected} is missing or out of order: found row {found} in its place")]
    Order {
        /// The number that should stand here.
        expected: i64,
        /// The number that does.
        found: i64,
    },
    /// The row does not follow the one before it.
    #[error("row {0} does not follow the row before it")]
    Link(i64),
    /// The row's content is not what was hashed.
    #[error("row {0} was changed")]
    Content(i64),
    /// The row was not written by a gateway that holds the key.
    #[error("row {0} was not written by this gateway (its proof is wrong)")]
    Proof(i64),
    /// Rows are missing at the end.
    #[error("rows are missing at the end: the last is {found}, the log's head says {expected}")]
    Cut {
        /// The last number by the head.
        expected: i64,
        /// The last row that is there.
        found: i64,
    },
    /// The head itself is not the gateway's.
    #[error("the log's head was changed or removed (it says row {0})")]
    Head(i64),
}

/// A chain being checked, row by row.
pub struct Verification<'c> {
    chain: &'c AuditChain,
    seq: i64,
    hash: String,
}

impl Verification<'_> {
    /// Takes the next row.
    pub fn row(&mut self, row: &AuditRow) -> Result<(), Broken> {
        if row.seq != self.seq + 1 {
            return Err(Broken::Order { expected: self.seq + 1, found: row.seq });
        }
        if row.hash != hash(row) {
            return Err(Broken::Content(row.seq));
        }
        if row.prev_hash != self.hash {
            return Err(Broken::Link(row.seq));
        }
        if !self.proves(&[b"row", row.hash.as_bytes()], &row.mac) {
            return Err(Broken::Proof(row.seq));
        }
        self.seq = row.seq;
        self.hash.clone_from(&row.hash);
        Ok(())
    }

    /// Compares the end with the head; answers how many rows there are.
    pub fn finish(self, head: Option<&AuditHead>) -> Result<i64, Broken> {
        let head = head.ok_or(Broken::Head(0))?;
        if !self.proves(&[b"head", &head.seq.to_be_bytes(), head.hash.as_bytes()], &head.mac) {
            return Err(Broken::Head(head.seq));
        }
        if head.seq != self.seq || head.hash != self.hash {
            return Err(Broken::Cut { expected: head.seq, found: self.seq });
        }
        Ok(self.seq)
    }

    fn proves(&self, parts: &[&[u8]], mac: &str) -> bool {
        let expected = hex(&self.chain.key.sign(parts));
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), mac.as_bytes()).is_ok()
    }
}

/// SHA-256 over the fields of a row, each preceded by its length, so that no two rows share a
/// byte string.
fn hash(row: &AuditRow) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"keyferry/audit/v1");
    let seq = row.seq.to_be_bytes();
    let at = row.at.millis().to_be_bytes();
    let tenant = row.tenant.as_deref().map_or_else(|| b"-".to_vec(), |t| format!("+{t}").into());
    for field in [
        row.prev_hash.as_bytes(),
        &seq,
        &at,
        row.actor.as_bytes(),
        row.action.as_bytes(),
        &tenant,
        row.target.as_bytes(),
        row.source.as_bytes(),
        row.detail.as_bytes(),
    ] {
        context.update(&(field.len() as u64).to_be_bytes());
        context.update(field);
    }
    hex(context.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
