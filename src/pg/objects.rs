//! What people read, beside the tables: views over them, and who may read what. What is said in SQL
//! is decided there (sql/views, sql/roles.sql); here it is run, in the caller's transaction, with
//! the owner's rights.
//!
//! None of it is a member of the extension, nor depends on one: DROP EXTENSION leaves it.

use super::owner::AsOwner;
use super::{sql, transaction};
use crate::error::Error;
use crate::source::comments::Comments;

/// Builds the views as the tables are by now, protects what is new, and says what it is. Cheap when
/// nothing changed.
pub fn refresh() -> Result<(), Error> {
    build_views(None)?;
    super::memory::hang()?;
    let missing = sql::run(
        "SELECT statement FROM odoo_mirror_internal.missing_protection() \
         UNION ALL SELECT statement FROM odoo_mirror_internal.missing_comments()",
        &[],
    )?;
    let _owner = if missing.is_empty() { None } else { Some(AsOwner::switch()?) };
    for row in &missing {
        sql::run(&sql::text(row, 0), &[])?;
    }
    Ok(())
}

/// Keeps what the source says of a table and its columns, for [`refresh`].
pub fn note_comments(table: &str, says: &Comments) -> Result<(), Error> {
    let says = serde_json::to_string(says).map_err(|_| Error::stop("a table's comments can't be noted"))?;
    sql::run(
        "INSERT INTO odoo_mirror_internal.source_comments AS c (table_name, says) VALUES ($1, $2::jsonb) \
         ON CONFLICT (table_name) DO UPDATE SET says = excluded.says WHERE c.says <> excluded.says",
        &[Some(table), Some(&says)],
    )
    .map(drop)
}

/// Lets go of a table's columns, so that they may be changed: views of ours show NULL in their
/// place until the next [`refresh`], in the same transaction.
pub fn let_go_of(table: &str) -> Result<(), Error> {
    build_views(Some(table))
}

fn build_views(without: Option<&str>) -> Result<(), Error> {
    let changed = sql::run(
        "SELECT name, definition FROM odoo_mirror_internal.view_definitions($1) WHERE changed",
        &[without],
    )?;
    for row in &changed {
        let (name, definition) = (sql::text(row, 0), sql::text(row, 1));
        let built = transaction::subtransaction(|| {
            {
                let _owner = AsOwner::switch()?;
                sql::run(
                    &format!(
                        "CREATE OR REPLACE VIEW odoo_mirror.{name} WITH (security_invoker = true) AS\n{definition}"
                    ),
                    &[],
                )?;
            }
            sql::run(
                "INSERT INTO odoo_mirror_internal.views AS v (name, definition) VALUES ($1, $2) \
                 ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, problem = NULL",
                &[Some(&name), Some(&definition)],
            )?;
            if without.is_none() { comment(&name) } else { Ok(()) }
        });
        match built {
            Err(error) if without.is_none() && error.verdict != crate::error::Verdict::Retry => {
                // Somebody has put something else in its place: the tables go on, doctor() tells.
                sql::run(
                    "INSERT INTO odoo_mirror_internal.views (name, definition, problem) VALUES ($1, '', $2) \
                     ON CONFLICT (name) DO UPDATE SET definition = '', problem = excluded.problem",
                    &[Some(&name), Some(&error.message)],
                )?;
            }
            built => built?,
        }
    }
    Ok(())
}

fn comment(view: &str) -> Result<(), Error> {
    let statements = sql::run(
        "SELECT statement FROM odoo_mirror_internal.view_comments() WHERE view = $1",
        &[Some(view)],
    )?;
    let _owner = AsOwner::switch()?;
    statements.iter().try_for_each(|row| sql::run(&sql::text(row, 0), &[]).map(drop))
}
