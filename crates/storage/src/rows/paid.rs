//! What the platform pays, added up over the rows that are written together.

use std::collections::{BTreeMap, HashSet};

use keyferry_core::{
    budget::{Span, Spent},
    id::TenantId,
    port::store::{StoreError, TenantSums},
    record::UsageRecord,
};
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::errors::away;

/// Amounts to add, by tenant and span.
#[derive(Default)]
pub(crate) struct Paid(BTreeMap<(TenantId, Span), u64>);

impl Paid {
    /// What the rows cost that are new: a request is paid for once, however often its row is handed in.
    pub(crate) fn of(records: &[UsageRecord], mut new: HashSet<String>) -> Self {
        let mut paid = Self::default();
        records.iter().filter(|record| new.remove(record.request_id.as_str())).for_each(|one| paid.add(one));
        paid
    }

    fn add(&mut self, record: &UsageRecord) {
        if record.cost_micro_usd == 0 {
            return;
        }
        for span in [Span::month(record.at), Span::TOTAL] {
            let sum = self.0.entry((record.tenant.clone(), span)).or_default();
            *sum = sum.saturating_add(record.cost_micro_usd);
        }
    }

    /// What to add, in one order for all replicas, so that none waits for another that waits for it.
    pub(crate) fn into_amounts(self) -> impl Iterator<Item = (TenantId, Span, i64)> {
        self.0
            .into_iter()
            .map(|((tenant, span), paid)| (tenant, span, i64::try_from(paid).unwrap_or(i64::MAX)))
    }
}

/// Puts a new sum to the others of its tenant, which came just before it.
pub(crate) fn put(sums: &mut Vec<TenantSums>, tenant: TenantId, span: Span, spent: Spent) {
    match sums.last_mut().filter(|last| last.tenant == tenant) {
        Some(last) => last.spent.push((span, spent)),
        None => sums.push(TenantSums { tenant, spent: vec![(span, spent)] }),
    }
}

/// A sum and its version, the first two columns.
pub(crate) fn read<'r, R: Row>(row: &'r R) -> Result<Spent, StoreError>
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let number = |at: usize| row.try_get::<i64, _>(at).map(|number| number.max(0) as u64).map_err(away);
    Ok(Spent { micro_usd: number(0)?, version: number(1)? })
}
