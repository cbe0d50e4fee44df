//! Uses of what was sealed to a sealing key.
//!
//! Each is a row, and rows are written by one connection. So those that come while others are counted wait and are counted
//! together: a transaction costs more than what is done in it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use data_encoding::HEXLOWER;
use keyferry_core::{
    port::store::StoreError,
    sealing::{SealClaim, SealUse},
};
use serde_json::json;
use sqlx::{
    Arguments, Error,
    sqlite::{SqliteArguments, SqliteRow},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::writer::Writer;
use crate::{errors::away, rows::Reader};

/// Those of one transaction, and those that may wait.
const MOST: usize = 64;
const WAITING: usize = 8192;
/// How long one waits for its answer. A use that is counted later than that counts, and nobody has it.
const PATIENCE: Duration = Duration::from_millis(900);

/// Where uses are handed in.
pub(super) struct Seals(mpsc::Sender<Asked>);

struct Asked {
    claim: SealClaim,
    /// It is a use, and not only a look.
    counts: bool,
    answer: oneshot::Sender<Judged>,
}

/// What is said of one. A row that cannot be read is nobody else's trouble.
type Judged = Result<SealUse, StoreError>;

impl Seals {
    /// The way in, and what has to run for it to lead anywhere.
    pub(super) fn new(writer: Arc<Writer>) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, waiting) = mpsc::channel(WAITING);
        (Self(sender), run(writer, waiting))
    }

    /// Whether a sealed key may be used; if `counts`, it is used by that.
    pub(super) async fn ask(&self, claim: &SealClaim, counts: bool) -> Judged {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { claim: claim.clone(), counts, answer };
        self.0.try_send(asked).map_err(|_| late("too many sealed keys wait for their turn"))?;
        match timeout(PATIENCE, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(late("it was closed"))),
            Err(_) => Err(late("no turn in time")),
        }
    }
}

fn late(why: &str) -> StoreError {
    StoreError::Away(why.to_owned())
}

async fn run(writer: Arc<Writer>, mut waiting: mpsc::Receiver<Asked>) {
    let mut some = Vec::with_capacity(MOST);
    while waiting.recv_many(&mut some, MOST).await > 0 {
        // Of those that went away nothing is used.
        some.retain(|asked| !asked.answer.is_closed());
        let all = if some.is_empty() { Ok(Vec::new()) } else { judge(&writer, &some).await };
        let all = all.unwrap_or_else(|error| vec![Err(error); some.len()]);
        for (asked, one) in some.drain(..).zip(all) {
            let _ = asked.answer.send(one);
        }
    }
}

/// Judges them in their order, and counts those that are uses and may be.
async fn judge(writer: &Writer, some: &[Asked]) -> Result<Vec<Judged>, StoreError> {
    let mut sending = writer.send().await?;
    let rows = sending.rows(READ, values(&Book::asked(some))?).await?;
    let mut book = Book::default();
    let read: Vec<_> = some.iter().zip(&rows).map(|(asked, row)| book.read(asked, row)).collect();
    let uses = some.iter().zip(read).map(|(asked, there)| Ok(book.judge(asked, there?))).collect();
    if book.new.is_empty() {
        sending.end("COMMIT", SqliteArguments::default()).await?;
    } else {
        sending.end(WRITE, values(&book.written())?).await?;
    }
    Ok(uses)
}

/// Takes the keys that were asked for, with the names of their sealing keys.
const READ: &str = "BEGIN IMMEDIATE;
    SELECT EXISTS (SELECT 1 FROM sealing_keys WHERE kid = asked.value ->> 0) AS there,
    coalesce((SELECT until FROM seal_floor), -1) AS floor, owner, coalesce(uses, 0) AS uses, coalesce(until, 0) AS until
    FROM json_each(?) AS asked LEFT JOIN seal_claims ON seal_claims.key = unhex(asked.value ->> 1) ORDER BY asked.key";

/// Takes keys, owners, uses and ends.
const WRITE: &str = "INSERT INTO seal_claims (key, owner, uses, until)
    SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3 FROM json_each(?) WHERE true
    ON CONFLICT (key) DO UPDATE SET uses = excluded.uses;
    COMMIT";

fn values(json: &serde_json::Value) -> Result<SqliteArguments, StoreError> {
    let mut values = SqliteArguments::default();
    values.add(json.to_string()).map_err(|error| away(Error::Encode(error)))?;
    Ok(values)
}

/// What the store has of some sealed keys, and what is added to it.
#[derive(Default)]
struct Book<'a> {
    /// Up to which end uses were forgotten.
    floor: i64,
    used: HashMap<&'a [u8; 32], Used>,
    new: HashSet<&'a [u8; 32]>,
}

struct Used {
    owner: Vec<u8>,
    uses: u32,
    until: i64,
}

impl<'a> Book<'a> {
    fn asked(some: &[Asked]) -> serde_json::Value {
        some.iter().map(|Asked { claim, .. }| json!([claim.kid, HEXLOWER.encode(&claim.key)])).collect()
    }

    /// Takes over what a row says of a sealed key; answers whether its sealing key is there.
    fn read(&mut self, asked: &'a Asked, row: &SqliteRow) -> Result<bool, StoreError> {
        let row = Reader { table: "seal_claims", row };
        self.floor = row.get("floor")?;
        if let Some(owner) = row.get::<Option<Vec<u8>>>("owner")? {
            let used = Used { owner, uses: row.get("uses")?, until: row.get("until")? };
            self.used.insert(&asked.claim.key, used);
        }
        row.get("there")
    }

    fn judge(&mut self, asked: &'a Asked, there: bool) -> SealUse {
        let claim = &asked.claim;
        let until = claim.until.millis();
        if !there {
            return SealUse::KeyGone;
        }
        let used = self.used.get(&claim.key);
        let used_up = used.is_some_and(|used| used.owner != claim.owner || used.uses >= claim.max_uses);
        if used_up || until <= self.floor {
            return SealUse::UsedUp;
        }
        // Whoever went away has not had it.
        if asked.counts && !asked.answer.is_closed() {
            let first = || Used { owner: claim.owner.to_vec(), uses: 0, until };
            self.used.entry(&claim.key).or_insert_with(first).uses += 1;
            self.new.insert(&claim.key);
        }
        SealUse::Allowed
    }

    fn written(&self) -> serde_json::Value {
        let row = |key: &&[u8; 32]| {
            let Used { owner, uses, until } = &self.used[*key];
            json!([HEXLOWER.encode(&key[..]), HEXLOWER.encode(owner), uses, until])
        };
        self.new.iter().map(row).collect()
    }
}
