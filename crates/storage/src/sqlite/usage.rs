//! Usage rows.

use keyferry_core::{
    id::TenantId,
    port::store::{GroupBy, Page, PageRequest, StoreError, UsageGroup, UsageRow},
    time::Timestamp,
};
use sqlx::AssertSqlSafe;

use super::SqliteStore;
use crate::{
    errors::away,
    rows::{
        cursor, one_more, paged,
        usage::{read, read_group, sums},
    },
};

impl SqliteStore {
    pub(crate) async fn usage_sums(
        &self,
        tenant: &TenantId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        group_by: &[GroupBy],
    ) -> Result<Vec<UsageGroup>, StoreError> {
        // Only fixed texts are put together there.
        let sql = AssertSqlSafe(sums(group_by, "date(at / 1000, 'unixepoch')"));
        let rows = sqlx::query(sql)
            .bind(tenant.as_str())
            .bind(from.map_or(i64::MIN, Timestamp::millis))
            .bind(to.map_or(i64::MAX, Timestamp::millis))
            .fetch_all(&self.reports)
            .await
            .map_err(away)?;
        rows.iter().map(|row| read_group(row, group_by.len())).collect()
    }

    pub(crate) async fn usage_list(
        &self,
        tenant: &TenantId,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        page: &PageRequest,
    ) -> Result<Page<UsageRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM usage WHERE tenant_id = ? AND at >= ? AND at < ? AND n < ?
             ORDER BY n DESC LIMIT ?",
        )
        .bind(tenant.as_str())
        .bind(from.map_or(i64::MIN, Timestamp::millis))
        .bind(to.map_or(i64::MAX, Timestamp::millis))
        .bind(cursor(page)?)
        .bind(one_more(page))
        .fetch_all(&self.reports)
        .await
        .map_err(away)?;
        paged(&rows, page, "n", read)
    }
}
