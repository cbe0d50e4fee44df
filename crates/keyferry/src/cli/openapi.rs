//! `keyferry openapi`

use super::output;

pub(super) fn run() -> anyhow::Result<()> {
    output::json(&crate::admin::document());
    Ok(())
}
