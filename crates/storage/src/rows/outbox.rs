//! Orders to move an epoch.

use keyferry_core::{id::TenantId, port::store::StoreError};

use super::{Columns, Reader};

pub(crate) fn read<R: Columns>(row: &R) -> Result<(i64, TenantId), StoreError> {
    let row = Reader { table: "outbox", row };
    Ok((row.get("n")?, row.parse("tenant_id")?))
}
