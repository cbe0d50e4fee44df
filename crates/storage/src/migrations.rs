//! The steps that bring a database's tables up to date, and which of them were taken.

use std::borrow::Cow;

use keyferry_core::port::store::StoreError;
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration, MigrationType, Migrator};

use crate::errors::reason;

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub version: i64,
    /// What it is about; empty for a step of a newer release.
    pub name: String,
    /// Whether it was taken.
    pub applied: bool,
}

pub(crate) fn migrator(steps: &[(i64, &'static str, &'static str)]) -> Migrator {
    let steps = steps.iter().map(|(version, name, sql)| {
        let sql = sqlx::SqlStr::from_static(sql);
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sql, false)
    });
    // A newer release may have added steps: its database still serves this one. The lock is taken here.
    Migrator {
        migrations: Cow::Owned(steps.collect()),
        ignore_missing: true,
        locking: false,
        ..Migrator::DEFAULT
    }
}

/// Takes the steps that are missing, one process at a time; answers which.
pub(crate) async fn apply(
    connection: &mut impl Migrate,
    migrator: &Migrator,
) -> Result<Vec<Step>, StoreError> {
    connection.lock().await.map_err(failed)?;
    connection.ensure_migrations_table(&migrator.table_name).await.map_err(failed)?;
    let before = connection.list_applied_migrations(&migrator.table_name).await.map_err(failed)?;
    migrator.run_direct(None, connection, false).await.map_err(failed)?;
    connection.unlock().await.map_err(failed)?;
    let mut steps = compare(migrator, &before)?;
    steps.retain(|step| !step.applied);
    for step in &mut steps {
        step.applied = true;
    }
    Ok(steps)
}

/// All steps; `begun` tells whether the database has a list of those that were taken.
pub(crate) async fn status(
    connection: &mut impl Migrate,
    migrator: &Migrator,
    begun: bool,
) -> Result<Vec<Step>, StoreError> {
    if !begun {
        return compare(migrator, &[]);
    }
    let taken = connection.list_applied_migrations(&migrator.table_name).await.map_err(failed)?;
    compare(migrator, &taken)
}

/// All steps, by the list of those that were taken.
pub(crate) fn compare(migrator: &Migrator, taken: &[AppliedMigration]) -> Result<Vec<Step>, StoreError> {
    let other = |one: &&AppliedMigration| {
        migrator.iter().any(|step| step.version == one.version && step.checksum != one.checksum)
    };
    if let Some(one) = taken.iter().find(other) {
        return Err(failed(MigrateError::VersionMismatch(one.version)));
    }
    let ours = migrator.iter().map(|step| Step {
        version: step.version,
        name: step.description.to_string(),
        applied: taken.iter().any(|one| one.version == step.version),
    });
    let newer = taken.iter().filter(|one| !migrator.version_exists(one.version));
    let newer = newer.map(|one| Step { version: one.version, name: String::new(), applied: true });
    Ok(ours.chain(newer).collect())
}

/// What the server said stays out of the answer.
fn failed(error: MigrateError) -> StoreError {
    StoreError::Away(match error {
        MigrateError::Execute(cause) => format!("migrating: {}", reason(&cause)),
        MigrateError::ExecuteMigration(cause, version) => {
            format!("migration {version}: {}", reason(&cause))
        }
        MigrateError::VersionMismatch(version) => {
            format!("migration {version} was taken in another form than this release has it")
        }
        MigrateError::Dirty(version) => format!("migration {version} was begun and not ended"),
        _ => "migrating failed".to_owned(),
    })
}
