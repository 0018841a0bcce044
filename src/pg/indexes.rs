//! Secondary indexes of mirrored tables: after the data, since building one is cheaper than growing it.

use super::board::{self, State};
use super::mirror::still_wanted;
use super::owner::AsOwner;
use super::progress::Settings;
use super::{sql, transaction};
use crate::error::{Error, Verdict};
use crate::mirror::quote::{quote_identifier, quote_list};

/// Builds what is missing on tables whose rows are in. An index whose column isn't there is left out.
pub fn build_all(settings: &Settings) -> Result<(), Error> {
    let missing = transaction::transaction(|| {
        sql::run(
            "SELECT i.name, i.table_name, array_to_json(i.columns)::text FROM odoo_mirror_internal.indexes i \
             JOIN odoo_mirror_internal.tables t ON t.name = i.table_name AND t.state <> 'failed' \
             WHERE i.problem IS NULL AND NOT EXISTS (SELECT FROM odoo_mirror_internal.ranges r \
                               WHERE r.table_name = t.name AND r.snapshot IS NULL) \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relname = i.name \
                               AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace) \
               AND (SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                    WHERE c.relname = i.table_name AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace \
                      AND a.attname = ANY (i.columns) AND a.attnum > 0 AND NOT a.attisdropped) = cardinality(i.columns) \
             ORDER BY i.table_name, i.name",
            &[],
        )
    })?;
    // Also while it streams: it goes on doing so.
    let state = board::read(|board| board.state).unwrap_or(State::Copying);
    let any = !missing.is_empty();
    for row in missing {
        let (name, table) = (sql::text(&row, 0), sql::text(&row, 1));
        let columns: Vec<String> = serde_json::from_str(&sql::text(&row, 2)).unwrap_or_default();
        board::set_state(state, &format!("building index {name}"));
        still_wanted(settings)?;
        let statement = format!(
            "CREATE INDEX {} ON odoo_mirror.{} ({})",
            quote_identifier(&name),
            quote_identifier(&table),
            quote_list(columns.iter().map(String::as_str))
        );
        let built = transaction::transaction(|| {
            let _owner = AsOwner::switch()?;
            sql::run(&statement, &[])
        });
        match built {
            // A value too long for an index, say: the table is as good without, and doctor() tells.
            Err(error) if error.verdict != Verdict::Retry => {
                let note = "UPDATE odoo_mirror_internal.indexes SET problem = $2 WHERE name = $1";
                transaction::transaction(|| sql::run(note, &[Some(&name), Some(&error.message)]))?;
            }
            built => {
                built?;
            }
        }
    }
    if any {
        board::set_state(state, "");
    }
    Ok(())
}
