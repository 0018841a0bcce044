//! Makes and reshapes mirror tables, and plans their copies. In the caller's transaction, as the
//! owner.

use super::own;
use super::owner::AsOwner;
use super::sql::{self, text};
use super::transaction;
use crate::error::{Error, Verdict};
use crate::mirror::ddl::{self, ColumnHere, KeyHere, Made, TableHere};
use crate::mirror::drift::{self, Change};
use crate::mirror::ranges::KeyRange;
use crate::mirror::shape::{MirrorShape, RowIdentity};
use crate::mirror::source_table::{SourceTable, SourceType};
use crate::mirror::typemap::TypeHere;

/// How a table gets its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filling {
    /// By a copy of ranges, before the stream starts.
    Copy,
    /// By comparing with the source while the stream goes on; a table without a key, by a copy with
    /// the stream standing still.
    Online,
}

/// Makes or reshapes the mirror table, and plans how it gets its rows; a copy in `ranges`, with
/// `replace` when rows may be there.
pub fn plan(
    source: &SourceTable,
    shape: &MirrorShape,
    ranges: &[KeyRange],
    filling: Filling,
) -> Result<(), Error> {
    let mut here = table_here(&shape.name)?;
    let rows_there = here.is_some();
    let mut made = own::made(&shape.name)?;
    if let Some(before) = &here {
        let renames = renames(before, source, &shape.name)?;
        made = made.map(|made| made.renamed(&renames));
        if !renames.is_empty() {
            super::objects::let_go_of(&shape.name)?;
            alter(&shape.name, ddl::follow(&shape.name, &renames))?;
            here = table_here(&shape.name)?;
        }
    }
    super::ahead::forget(&shape.name)?;
    match &here {
        None => alter(&shape.name, ddl::create_statements(shape))?,
        Some(here) => reshape(here, &made.unwrap_or_else(|| whole(here, shape)), shape)?,
    }
    // By a copy somebody's values would go with the rows.
    let mirrored = Made::of(shape).columns;
    let filling = match shape.identity {
        RowIdentity::Key
            if filling == Filling::Copy && rows_there && own::has_values(&shape.name, &mirrored)? =>
        {
            Filling::Online
        }
        RowIdentity::Key => filling,
        _ if rows_there => own::refuse_to_empty(&shape.name, &mirrored).map(|()| filling)?,
        _ => filling,
    };
    let published_all_along = published_all_along(&shape.name, source)?;
    super::registry::take_in(source, shape)?;
    if filling == Filling::Online && shape.identity == RowIdentity::Key {
        let reason =
            if rows_there { "its rows are being compared with the source's" } else { "it is being filled" };
        super::registry::reconcile(&shape.name, reason)?;
        return if published_all_along { Ok(()) } else { super::registry::await_writers(&shape.name) };
    }
    super::quarantine::forget(&shape.name)?;
    sql::run("DELETE FROM odoo_mirror_internal.reconciles WHERE table_name = $1", &[Some(&shape.name)])?;
    sql::run("DELETE FROM odoo_mirror_internal.ranges WHERE table_name = $1", &[Some(&shape.name)])?;
    // Rows that are there give way in the same transaction that brings the new ones: readers never
    // miss them.
    let whole = [KeyRange::ALL];
    let ranges = if rows_there || ranges.is_empty() { &whole[..] } else { ranges };
    for (ordinal, range) in ranges.iter().enumerate() {
        let bound = |value: Option<i64>| value.map(|value| value.to_string());
        sql::run(
            "INSERT INTO odoo_mirror_internal.ranges (table_name, ordinal, lo, hi, replace) \
             VALUES ($1, $2::int, $3::bigint, $4::bigint, $5::boolean)",
            &[
                Some(&shape.name),
                Some(&ordinal.to_string()),
                bound(range.lo).as_deref(),
                bound(range.hi).as_deref(),
                Some(if rows_there { "true" } else { "false" }),
            ],
        )?;
    }
    Ok(())
}

/// Turns the table that is here into the one that must be, if nothing of somebody's is lost by it.
fn reshape(here: &TableHere, made: &Made, shape: &MirrorShape) -> Result<(), Error> {
    let reshaping = ddl::difference(here, made, shape);
    own::refuse_to_lose(&shape.name, made, &reshaping).map_err(|error| in_the_way(error, &shape.name))?;
    if reshaping.statements.is_empty() {
        return Ok(());
    }
    // Views of ours are no user's: they make room, and are built again.
    super::objects::let_go_of(&shape.name)?;
    let mut hanging = own::hanging(&shape.name)?;
    hanging.retain(|hanging| reshaping.retyped.contains(&hanging.column));
    alter(&shape.name, reshaping.statements).map_err(|error| match (error.sqlstate.as_deref(), hanging.is_empty()) {
        (Some("0A000" | "2BP01"), _) => error,
        (_, false) if error.verdict == Verdict::RetrySlowly => error.hint(format!(
            "A column of odoo_mirror.\"{}\" must get another type, and what is yours on it may not fit that: {}. \
             Drop that (and make it again afterwards): the table goes on by itself within 30 seconds.",
            shape.name,
            own::names(&hanging)
        )),
        _ => error,
    })
}

/// Of a table that nothing is noted of: what has the name of a mirrored column is taken for it, and
/// whatever else there is for somebody's.
fn whole(here: &TableHere, shape: &MirrorShape) -> Made {
    Made { key: here.key.as_ref().map(|key| key.columns.clone()).unwrap_or_default(), ..Made::of(shape) }
}

/// Whether the mirror's table is as it was made.
pub fn is_as_made(shape: &MirrorShape) -> Result<bool, Error> {
    let here = table_here(&shape.name)?;
    Ok(here.is_some_and(|here| ddl::difference(&here, &Made::of(shape), shape).is_none()))
}

/// Whether all changes of transactions that are still open come with the stream: then the table was
/// mirrored as it is published now. What somebody wrote before that may never come.
fn published_all_along(table: &str, now: &SourceTable) -> Result<bool, Error> {
    let definition = sql::value(
        "SELECT definition FROM odoo_mirror_internal.tables WHERE name = $1 AND state <> 'failed'",
        &[Some(table)],
    )?;
    let kept: Option<SourceTable> = definition.and_then(|kept| serde_json::from_str(&kept).ok());
    let leaves = |table: &SourceTable| table.files.iter().map(|(oid, _)| *oid).collect::<Vec<_>>();
    Ok(kept.is_some_and(|kept| {
        (kept.oid, leaves(&kept)) == (now.oid, leaves(now))
            && (&kept.published_as, &kept.published_in) == (&now.published_as, &now.published_in)
            && (kept.via_root, kept.replica_identity) == (now.via_root, now.replica_identity)
    }))
}

/// Runs statements on a mirror table, as the owner. After an Err the caller's (sub)transaction must
/// be undone.
pub fn alter(table: &str, statements: Vec<String>) -> Result<(), Error> {
    let altered = transaction::attempt(|| {
        let _owner = AsOwner::switch()?;
        statements.iter().try_for_each(|statement| sql::run(statement, &[]).map(drop))
    });
    altered.map_err(|error| in_the_way(error, table))
}

/// Columns of the table that is here, and that the source calls otherwise by now.
fn renames(here: &TableHere, source: &SourceTable, table: &str) -> Result<Vec<Change>, Error> {
    let definition =
        sql::value("SELECT definition FROM odoo_mirror_internal.tables WHERE name = $1", &[Some(table)])?;
    let kept: Option<SourceTable> = definition.and_then(|kept| serde_json::from_str(&kept).ok());
    let Some(kept) = kept else { return Ok(Vec::new()) };
    Ok(drift::renames(&kept, source, here))
}

/// Something of a user's on the table blocks its change: say what, and drop nothing.
fn in_the_way(error: Error, table: &str) -> Error {
    match error.sqlstate.as_deref() {
        Some("0A000" | "2BP01") => {
            let detail = error.detail.clone().unwrap_or_default();
            error.hint(format!(
                "Something of yours depends on a column of odoo_mirror.\"{table}\" that must change: {detail} Drop that (and make it again afterwards): \
                 the table goes on by itself within 30 seconds."
            ))
        }
        _ if error.verdict == Verdict::RetrySlowly && error.sqlstate.is_some() => error.hint(format!(
            "Something of yours here is in the way of what must be done to odoo_mirror.\"{table}\". Mend that: the table \
             goes on by itself within 30 seconds."
        )),
        _ => error,
    }
}

/// Which type here stands for one of the source's; for [`MirrorShape::of_all`].
///
/// A name alone says nothing: whoever may make a type in some schema would choose what code runs
/// when a value is read. So it is the same extension's type, in whatever schema, or one in the
/// schema of that name; and it belongs to a superuser, the database's owner, or whoever called
/// configure().
pub fn type_here(source: &SourceType) -> Option<TypeHere> {
    const FIND: &str = r"
        SELECT pg_catalog.format_type(t.oid, $4::pg_catalog.int4), t.typtype,
               CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END,
               CASE WHEN NOT pg_catalog.has_schema_privilege('odoo_mirror_owner', n.oid, 'USAGE')
                    THEN pg_catalog.format('GRANT USAGE ON SCHEMA %I TO odoo_mirror_owner', n.nspname)
                    WHEN NOT pg_catalog.has_type_privilege('odoo_mirror_owner', t.oid, 'USAGE')
                    THEN pg_catalog.format('GRANT USAGE ON TYPE %I.%I TO odoo_mirror_owner', n.nspname, t.typname) END
        FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        JOIN pg_catalog.pg_roles r ON r.oid = t.typowner
        LEFT JOIN (pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x
                     ON x.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass)
               ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid
                  AND d.deptype = 'e' AND x.extname = $3
        WHERE t.typname = $2 AND t.typtype <> 'p'
          AND n.nspname <> 'odoo_mirror' AND (n.nspname = 'pg_catalog' OR n.nspname NOT LIKE 'pg\_%')
          AND (x.oid IS NOT NULL OR n.nspname = $1)
          AND (r.rolsuper
               OR t.typowner = (SELECT b.datdba FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database())
               OR r.rolname = (SELECT s.configured_by FROM odoo_mirror_internal.settings s))
        ORDER BY (x.oid IS NULL), (n.nspname <> $1), n.nspname LIMIT 1";
    // The modifier is the source's word: what it means is the local type's to say, or to refuse.
    let found = transaction::subtransaction(|| {
        sql::run(
            FIND,
            &[
                Some(&source.schema),
                Some(&source.name),
                source.extension.as_deref(),
                Some(&source.modifier.to_string()),
            ],
        )
    });
    let row = found.ok()?.into_iter().next()?;
    Some(TypeHere {
        formatted: text(&row, 0),
        kind: text(&row, 1).chars().next()?,
        base: row[2].clone(),
        missing_grant: row[3].clone(),
    })
}

/// The mirror table as it stands; None: there is none. One that isn't the mirror's own is an error.
fn table_here(name: &str) -> Result<Option<TableHere>, Error> {
    let found = sql::run(
        "SELECT c.oid, c.relkind, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c \
         WHERE c.relname = $1 AND c.relnamespace = 'odoo_mirror'::pg_catalog.regnamespace",
        &[Some(name)],
    )?;
    let Some(row) = found.into_iter().next() else { return Ok(None) };
    if text(&row, 1) != "r" || text(&row, 2) != super::owner::OWNER {
        return Err(Error::retry_slowly(format!("odoo_mirror.\"{name}\" exists and is not the mirror's"))
            .hint("Rename or drop it: the mirror writes only tables that it made."));
    }
    let oid = text(&row, 0);
    // A privilege, a comment or a setting of somebody's goes with a column, too.
    let columns = sql::run(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                a.attacl IS NOT NULL OR a.attoptions IS NOT NULL OR coalesce(a.attstattarget, -1) <> -1 \
                OR coalesce(d.description NOT IN (pg_catalog.format('%s.%s of Odoo', t.source_name, a.attname), \
                                                  coalesce(s.says ->> a.attname::text, '')), false) \
         FROM pg_catalog.pg_attribute a \
         LEFT JOIN pg_catalog.pg_description d ON d.objoid = a.attrelid AND d.objsubid = a.attnum \
           AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
         LEFT JOIN odoo_mirror_internal.tables t ON t.name = $2 \
         LEFT JOIN odoo_mirror_internal.source_comments s ON s.table_name = $2 \
         WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        &[Some(&oid), Some(name)],
    )?;
    let hanging = own::hanging(name)?;
    let key = sql::run(
        "SELECT c.conname, a.attname, i.indisclustered, i.indisreplident FROM pg_catalog.pg_constraint c \
         JOIN pg_catalog.pg_index i ON i.indexrelid = c.conindid \
         CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY k (attnum, place) \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum \
         WHERE c.conrelid = $1::oid AND c.contype = 'p' ORDER BY k.place",
        &[Some(&oid)],
    )?;
    Ok(Some(TableHere {
        columns: columns
            .iter()
            .map(|row| ColumnHere {
                name: text(row, 0),
                sql_type: text(row, 1),
                not_null: text(row, 2) == "t",
                adorned: text(row, 3) == "t" || hanging.iter().any(|hanging| hanging.column == text(row, 0)),
            })
            .collect(),
        key: key.first().map(|first| KeyHere {
            constraint: text(first, 0),
            columns: key.iter().map(|row| text(row, 1)).collect(),
            clusters: text(first, 2) == "t",
            identifies: text(first, 3) == "t",
        }),
    }))
}
