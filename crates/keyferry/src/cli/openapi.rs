//! `keyferry openapi`

use super::output;

pub(super) fn run() {
    output::json(&crate::admin::document());
}
