//! What somebody added to a mirrored table, and what is kept in it: asked before anything is done
//! that it would be lost with. Then the table fails and says so, and nothing is lost. In the
//! caller's transaction.

use super::owner::AsOwner;
use super::registry::{self, Table};
use super::sql::{self, text};
use super::{ahead, copy};
use crate::error::Error;
use crate::mirror::ddl::{Made, Reshaping, Taken};
use crate::mirror::quote::{quote_identifier, quote_qualified};
use crate::mirror::ranges::KeyRange;
use crate::mirror::shape::{MIRROR_SCHEMA, MirrorShape, RowIdentity};
use crate::mirror::table_state::Failure;

/// Something of somebody's that would go with a column.
pub struct Hanging {
    pub column: String,
    /// As PostgreSQL names it.
    pub what: String,
}

/// What the mirror made of the table by this name; None: that isn't known, it is there from before
/// the extension was installed, say.
pub fn made(table: &str) -> Result<Option<Made>, Error> {
    let shape = sql::value("SELECT shape FROM odoo_mirror_internal.tables WHERE name = $1", &[Some(table)])?;
    let shape: Option<MirrorShape> = shape.and_then(|shape| serde_json::from_str(&shape).ok());
    let shape = shape.filter(|shape| !shape.columns.is_empty());
    shape.map(|shape| made_of(table, &shape)).transpose()
}

/// By its shape, and ahead of it.
fn made_of(table: &str, shape: &MirrorShape) -> Result<Made, Error> {
    let mut made = Made::of(shape);
    made.columns.extend(ahead::columns(table)?);
    Ok(made)
}

/// What goes with the table's columns without a word, but for what the mirror itself put on them.
/// What else hangs on a column, a view, say, PostgreSQL tells by itself.
pub fn hanging(table: &str) -> Result<Vec<Hanging>, Error> {
    let rows = sql::run(
        "SELECT a.attname, pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i') \
         LEFT JOIN pg_catalog.pg_class r ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND r.oid = d.objid \
         LEFT JOIN pg_catalog.pg_constraint c ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND c.oid = d.objid \
         LEFT JOIN pg_catalog.pg_attrdef v ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND v.oid = d.objid \
         WHERE a.attrelid = (SELECT t.oid FROM pg_catalog.pg_class t WHERE t.relname = $1 \
                               AND t.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace) \
           AND a.attnum > 0 AND NOT a.attisdropped \
           AND NOT coalesce(c.conrelid = a.attrelid AND c.contype IN ('p', 'n'), false) \
           AND NOT coalesce(v.adrelid = a.attrelid AND v.adnum = a.attnum, false) \
           AND NOT EXISTS (SELECT FROM odoo_mirror_internal.indexes i WHERE i.name = r.relname) \
         ORDER BY a.attnum, 2",
        &[Some(table)],
    )?;
    Ok(rows.iter().map(|row| Hanging { column: text(row, 0), what: text(row, 1) }).collect())
}

/// Fails if a column that is to be dropped would take something along.
pub fn refuse_to_drop(table: &str, columns: &[String]) -> Result<(), Error> {
    if columns.is_empty() {
        return Ok(());
    }
    let mut hanging = hanging(table)?;
    hanging.retain(|hanging| columns.contains(&hanging.column));
    let Some(first) = hanging.first() else { return Ok(()) };
    Err(Error::retry_slowly(format!(
        "cannot drop column \"{}\" of table {} because other objects depend on it",
        first.column,
        qualified(table)
    ))
    .detail(format!("{} depend on it.", names(&hanging)))
    // Dependent objects still exist.
    .sqlstate("2BP01"))
}

/// Of what hangs on a table, the names.
pub fn names(hanging: &[Hanging]) -> String {
    let mut names: Vec<&str> = hanging.iter().map(|hanging| hanging.what.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Fails if the table can't become what it must be without a loss.
pub fn refuse_to_lose(table: &str, made: &Made, reshaping: &Reshaping) -> Result<(), Error> {
    match reshaping.taken.first() {
        Some(Taken::Name(column)) => {
            let (qualified, quoted) = (qualified(table), quote_identifier(column));
            return Err(Error::retry_slowly(format!(
                "the source has a column \"{column}\" by now, and somebody's own column of table {qualified} has that name"
            ))
            .hint(format!(
                "Give yours another name: ALTER TABLE {qualified} RENAME COLUMN {quoted} TO …; or drop it. \
                 The table goes on by itself within 30 seconds."
            )));
        }
        Some(Taken::Key(constraint)) => {
            let (qualified, quoted) = (qualified(table), quote_identifier(constraint));
            return Err(Error::retry_slowly(format!(
                "the source's table has a key by now, and table {qualified} has somebody's own primary key"
            ))
            .hint(format!(
                "ALTER TABLE {qualified} DROP CONSTRAINT {quoted}; the table goes on by itself within 30 seconds."
            )));
        }
        None => {}
    }
    refuse_to_drop(table, &reshaping.dropped)?;
    let Some(rows) = &reshaping.emptied else { return Ok(()) };
    match values(table, &made.columns, rows)? {
        Some(column) => {
            Err(lost(table, &column, "Its rows have another key by now, by which they can't be found here."))
        }
        None => Ok(()),
    }
}

/// Fails if somebody's values would be lost with the table's rows.
pub fn refuse_to_empty(table: &str, mirrored: &[String]) -> Result<(), Error> {
    match values(table, mirrored, "true")? {
        Some(column) => Err(lost(table, &column, COPIED)),
        None => Ok(()),
    }
}

/// Whether somebody's own columns hold values in the table.
pub fn has_values(table: &str, mirrored: &[String]) -> Result<bool, Error> {
    Ok(values(table, mirrored, "true")?.is_some())
}

/// A range is to be copied in place of its rows: where somebody keeps values in them, they are
/// compared and mended instead; if they can't be, the table fails. True: one of the two.
pub fn keep_from_copy(table: &Table, range: KeyRange) -> Result<bool, Error> {
    let mirrored = made_of(&table.name, &table.shape)?.columns;
    let Some(column) = values(&table.name, &mirrored, &copy::rows_of(table, range))? else {
        return Ok(false);
    };
    if table.shape.identity == RowIdentity::Key {
        registry::reconcile_instead(&table.name, "its rows are being compared with the source's")?;
        registry::await_writers(&table.name)?;
    } else {
        let error = lost(&table.name, &column, COPIED);
        let hint = error.hint.as_deref().unwrap_or_default();
        registry::fail(&table.name, Failure::InTheWay, &error.message, hint)?;
    }
    Ok(true)
}

const COPIED: &str = "It has no key by which rows could be mended in place: they must be copied anew.";

fn lost(table: &str, column: &str, why: &str) -> Error {
    let (qualified, quoted) = (qualified(table), quote_identifier(column));
    Error::retry_slowly(format!("somebody's values in column \"{column}\" of table {qualified} would be lost")).hint(format!(
        "{why} Keep the values in a table of your own and ALTER TABLE {qualified} DROP COLUMN {quoted}; or set them to NULL. \
         The table goes on by itself within 30 seconds."
    ))
}

/// A column, none of those that are mirrored, that holds something in these rows other than a
/// constant default. What is generated comes back by itself.
fn values(table: &str, mirrored: &[String], rows: &str) -> Result<Option<String>, Error> {
    let mirrored = serde_json::to_string(mirrored).map_err(|_| Error::stop("a name can't be told"))?;
    let own = sql::run(
        "SELECT a.attname, CASE WHEN d.adbin::text LIKE '{CONST %' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END \
         FROM pg_catalog.pg_attribute a \
         LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE a.attrelid = (SELECT t.oid FROM pg_catalog.pg_class t WHERE t.relname = $1 \
                               AND t.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace) \
           AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
           AND NOT EXISTS (SELECT FROM pg_catalog.jsonb_array_elements_text($2::jsonb) m WHERE m = a.attname::text) \
         ORDER BY a.attnum",
        &[Some(table), Some(&mirrored)],
    )?;
    for row in &own {
        let column = quote_identifier(&text(row, 0));
        // A type may have no equality: then its text tells.
        let differs = match &row[1] {
            None => format!("{column} IS DISTINCT FROM NULL"),
            Some(default) => format!("ROW({column})::text IS DISTINCT FROM ROW({default})::text"),
        };
        let query = format!("SELECT 1 FROM ONLY {} WHERE ({rows}) AND {differs} LIMIT 1", qualified(table));
        let _owner = AsOwner::switch()?;
        if sql::value(&query, &[])?.is_some() {
            return Ok(Some(text(row, 0)));
        }
    }
    Ok(None)
}

fn qualified(table: &str) -> String {
    quote_qualified(MIRROR_SCHEMA, table)
}
