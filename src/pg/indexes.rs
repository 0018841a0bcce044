//! Secondary indexes of mirrored tables: after the data, since building one is cheaper than growing
//! it.

use super::board::{self, Text};
use super::owner::AsOwner;
use super::{sql, transaction};
use crate::error::{Error, Verdict};
use crate::mirror::quote::{quote_identifier, quote_list};

/// What to do about indexes that others build meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    Leave,
    Await,
}

/// Builds what is missing on tables whose rows are in, until `wanted` fails. An index whose column
/// isn't there is left out.
pub fn build_all(others: Others, wanted: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
    while build_next(others)? {
        board::write(|board| board.message = Text::new(""));
        wanted()?;
    }
    Ok(())
}

/// Builds one index, holding its row. False: there is none left to build.
fn build_next(others: Others) -> Result<bool, Error> {
    let mut claimed = None;
    let built = transaction::transaction(|| {
        let Some(index) = claim(others)? else { return Ok(false) };
        board::write(|board| board.message = Text::new(&format!("building index {}", index.name)));
        let statement = index.statement();
        claimed = Some(index.name);
        let _owner = AsOwner::switch()?;
        sql::run(&statement, &[]).map(|_| true)
    });
    match (built, claimed) {
        // A value too long for an index, say: the table is as good without, and doctor() tells.
        (Err(error), Some(name)) if error.verdict != Verdict::Retry => {
            let note = "UPDATE odoo_mirror_internal.indexes SET problem = $2 WHERE name = $1";
            transaction::transaction(|| sql::run(note, &[Some(&name), Some(&error.message)]))?;
            Ok(true)
        }
        (built, _) => built,
    }
}

struct Index {
    name: String,
    table: String,
    columns: Vec<String>,
}

impl Index {
    fn statement(&self) -> String {
        format!(
            // Who waited for another to build it finds it there.
            "CREATE INDEX IF NOT EXISTS {} ON odoo_mirror.{} ({})",
            quote_identifier(&self.name),
            quote_identifier(&self.table),
            quote_list(self.columns.iter().map(String::as_str))
        )
    }
}

/// Takes an index that is missing, and holds it until the transaction ends.
fn claim(others: Others) -> Result<Option<Index>, Error> {
    let skip = if others == Others::Leave { "SKIP LOCKED" } else { "" };
    let rows = sql::run(
        &format!(
            "SELECT i.name, i.table_name, array_to_json(i.columns)::text FROM odoo_mirror_internal.indexes i \
             JOIN odoo_mirror_internal.tables t ON t.name = i.table_name AND t.state <> 'failed' \
             WHERE i.problem IS NULL AND NOT EXISTS (SELECT FROM odoo_mirror_internal.ranges r \
                               WHERE r.table_name = t.name AND r.snapshot IS NULL) \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relname = i.name \
                               AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace) \
               AND (SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                    WHERE c.relname = i.table_name AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace \
                      AND a.attname = ANY (i.columns) AND a.attnum > 0 AND NOT a.attisdropped) = cardinality(i.columns) \
             ORDER BY t.estimated_bytes DESC, i.table_name, i.name FOR UPDATE OF i {skip} LIMIT 1"
        ),
        &[],
    )?;
    Ok(rows.first().map(|row| Index {
        name: sql::text(row, 0),
        table: sql::text(row, 1),
        columns: serde_json::from_str(&sql::text(row, 2)).unwrap_or_default(),
    }))
}
