//! Which tables a publication streams, and what they look like, from the source's catalog.
//!
//! Reads, never judges: what a mirror makes of a table is `mirror::shape`'s to say. The statements
//! are the same for every version from 13 on; columns of system views that came later are read
//! through jsonb, where an absent one is NULL.

use std::collections::HashMap;

use tokio_postgres::{Client, Row};

use super::catalog_types::{TypeKey, read_types};
use crate::error::{Error, sqlstate};
use crate::mirror::session_settings::{CATALOG_PATH, VALUES_PATH};
use crate::mirror::snapshot::Snapshot;
use crate::mirror::source_table::{LeftOut, Publishes, SourceColumn, SourceTable, WhyLeftOut};
use crate::wire::Lsn;

/// What makes publication `p` publish relation `c`; read from catalog rows alone, so that any
/// snapshot shows its own.
macro_rules! published_as {
    () => {
        "pg_catalog.concat_ws(' ', p.oid, p.xmin, (SELECT pg_catalog.string_agg(pg_catalog.concat_ws('/', r.oid, r.xmin), ' ' ORDER BY r.oid) \
         FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND (r.prrelid = c.oid OR r.prrelid IN \
             (SELECT relid FROM pg_catalog.pg_partition_ancestors(c.oid) relid))))"
    };
}
pub(super) use published_as;

/// Some servers' roots list a leaf's rows as their own, so sizes are summed over leaves only.
const TABLES: &str = concat!("
    SELECT c.oid, n.nspname, p.pubname, c.relname, c.relkind, c.relreplident,
           p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
           row_security_active(c.oid) AS row_security,
           to_jsonb(t) ->> 'rowfilter' AS row_filter,
           CASE jsonb_typeof(to_jsonb(t) -> 'attnames')
               WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(to_jsonb(t) -> 'attnames'))
           END AS column_list,
           coalesce(leaves.rows, 0) AS rows, coalesce(leaves.oids, '{}') AS file_oids, coalesce(leaves.files, '{}') AS files,
           c.relnatts,
           ", published_as!(), " AS published_as
    FROM pg_publication p
    JOIN pg_publication_tables t ON t.pubname = p.pubname
    JOIN pg_namespace n ON n.nspname = t.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
    CROSS JOIN LATERAL (
        SELECT sum(greatest(leaf.reltuples, 0))::int8 AS rows, array_agg(leaf.oid ORDER BY leaf.oid) AS oids,
               array_agg(leaf.relfilenode ORDER BY leaf.oid) AS files
        FROM pg_class leaf
        WHERE leaf.relkind = 'r'
          AND (leaf.oid = c.oid OR leaf.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
    ) leaves
    WHERE p.pubname = $1
    ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"");

/// Which schemas make the publication publish a table, and since which transaction. Known from 15
/// on.
const SCHEMAS: &str = "
    SELECT c.oid, string_agg(concat_ws('/', s.oid, s.xmin), ' ' ORDER BY s.oid) AS published_in
    FROM pg_publication p
    JOIN pg_publication_namespace s ON s.pnpubid = p.oid
    JOIN pg_class c ON c.oid = ANY ($2) AND (c.relnamespace = s.pnnspid OR EXISTS (
        SELECT FROM pg_partition_ancestors(c.oid) a (oid) JOIN pg_class k ON k.oid = a.oid WHERE k.relnamespace = s.pnnspid))
    WHERE p.pubname = $1
    GROUP BY c.oid";

/// Takes ACCESS SHARE on each table for a moment: behind an ALTER TABLE this waits, up to the
/// session's lock_timeout.
const SIZES: &str = "
    SELECT root.oid, coalesce(sum(pg_table_size(leaf.oid)), 0)::int8 AS bytes
    FROM unnest($1::oid[]) root (oid)
    LEFT JOIN pg_class leaf
           ON leaf.relkind = 'r'
          AND (leaf.oid = root.oid OR leaf.oid IN (SELECT relid FROM pg_partition_tree(root.oid)))
    GROUP BY root.oid";

/// Before 18 a generated column is never streamed, though 15 lists it among those that are.
const COLUMNS: &str = "
    SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.xmin::text AS stamp,
           a.attgenerated <> '' AS generated,
           a.attgenerated = '' OR current_setting('server_version_num')::int4 >= 180000 AS streamable, l.collisdeterministic AS deterministic,
           a.atthasmissing AS has_default
    FROM pg_attribute a
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum";

/// The values that rows older than their columns have. Output functions write them, like all
/// values: under the search_path of values, so that all in it is qualified.
const DEFAULTS: &str = "
    SELECT a.attrelid, a.attnum, pg_catalog.array_to_string(a.attmissingval, ','::pg_catalog.text) AS constant_default
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid OPERATOR(pg_catalog.=) ANY ($1) AND a.atthasmissing";

/// A deferrable primary key identifies no row for logical decoding, as if it weren't there.
const KEYS: &str = "
    SELECT i.indrelid, i.indexrelid, i.indisprimary AND i.indimmediate AS is_primary, i.indisreplident AS is_identity,
           array_agg(a.attname ORDER BY k.position) AS columns
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = ANY ($1) AND i.indisvalid AND k.position <= i.indnkeyatts
      AND (i.indisprimary AND i.indimmediate OR i.indisreplident)
    GROUP BY i.indexrelid, i.indrelid, i.indisprimary, i.indimmediate, i.indisreplident";

/// The identity of each leaf of a partitioned table, and by which columns rows are put into leaves;
/// NULL for an expression.
const LEAF_KEYS: &str = "
    SELECT root.oid AS root, leaf.oid AS leaf, key.columns, parted.columns AS parted_by
    FROM unnest($1::oid[]) root (oid)
    CROSS JOIN LATERAL pg_partition_tree(root.oid) tree
    JOIN pg_class leaf ON leaf.oid = tree.relid AND leaf.relkind = 'r'
    LEFT JOIN LATERAL (
        SELECT array_agg(a.attname::text ORDER BY k.position) AS columns
        FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = leaf.oid AND i.indisvalid AND k.position <= i.indnkeyatts
          AND CASE leaf.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate
                                     WHEN 'i' THEN i.indisreplident ELSE false END
    ) key ON true
    CROSS JOIN LATERAL (
        SELECT array_agg(a.attname::text) AS columns
        FROM pg_partition_tree(root.oid) part
        JOIN pg_partitioned_table p ON p.partrelid = part.relid
        CROSS JOIN LATERAL unnest(p.partattrs) AS k (attnum)
        LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.attnum AND a.attnum > 0
    ) parted
    ORDER BY root.oid, leaf.oid";

/// What the source publishes, as of one snapshot.
#[derive(Debug)]
pub struct Seen {
    pub tables: Vec<SourceTable>,
    pub snapshot: Option<Snapshot>,
    /// Past every commit that the snapshot sees.
    pub past: Lsn,
}

/// How long a look waits for a table that somebody alters on the source: until then nothing is
/// known of it.
const LOOK_WAITS: &str = "SET LOCAL lock_timeout = '1s'";

/// A standby, too, is looked at: only then it can be said that it can't be mirrored from.
const POSITION: &str = "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
    ELSE pg_current_wal_insert_lsn() END)::text";

/// Looks at what `publication` streams, by schema and name; nothing when there is no such
/// publication. A name in `excluded_columns` is `column`, of any table, or `table.column`. Sizes
/// are not looked for.
pub async fn look(client: &Client, publication: &str, excluded_columns: &[String]) -> Result<Seen, Error> {
    let mut looked = look_once(client, publication, excluded_columns).await;
    for _ in 1..TRIES {
        // A table went while it was looked at: the next look doesn't find it any more.
        let Err(error) = &looked else { break };
        if !error.sqlstate.as_deref().is_some_and(|code| sqlstate::is_gone(code, &error.message)) {
            break;
        }
        looked = look_once(client, publication, excluded_columns).await;
    }
    looked
}

/// How often a look is tried while tables come and go.
const TRIES: usize = 5;

async fn look_once(client: &Client, publication: &str, excluded_columns: &[String]) -> Result<Seen, Error> {
    client.batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {LOOK_WAITS}")).await?;
    let looked = look_inside(client, publication, excluded_columns).await;
    // The session may be used again.
    client.batch_execute(if looked.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    let mut seen = looked?;
    let row = client.query_one(POSITION, &[]).await?;
    seen.past = row.try_get::<_, String>(0)?.parse().unwrap_or(Lsn(u64::MAX));
    Ok(seen)
}

async fn look_inside(client: &Client, publication: &str, excluded_columns: &[String]) -> Result<Seen, Error> {
    let row = client.query_one("SELECT pg_current_snapshot()::text", &[]).await?;
    let snapshot: String = row.try_get(0)?;
    let rows = client.query(TABLES, &[&publication]).await?;
    let mut tables = rows.iter().map(table).collect::<Result<Vec<_>, _>>()?;
    let oids: Vec<u32> = tables.iter().map(|(table, _)| table.oid).collect();

    let mut schemas = published_schemas(client, publication, &oids).await?;
    let mut columns = all_columns(client, &oids).await?;
    let mut keys: HashMap<u32, Vec<Row>> = HashMap::new();
    for row in client.query(KEYS, &[&oids]).await? {
        keys.entry(row.try_get("indrelid")?).or_default().push(row);
    }
    let mut leaves = leaf_keys(client, &tables).await?;
    for (table, column_list) in &mut tables {
        table.leaf_key = leaves.remove(&table.oid).unwrap_or_default();
        table.seen.clone_from(&snapshot);
        table.published_in = schemas.remove(&table.oid).unwrap_or_default();
        for key in keys.remove(&table.oid).unwrap_or_default() {
            add_key(table, &key)?;
        }
        for Found { column, generated, streamable } in columns.remove(&table.oid).unwrap_or_default() {
            let listed = column_list.as_ref().is_none_or(|list| list.contains(&column.name));
            match why_left_out(table, &column.name, streamable && listed, generated, excluded_columns) {
                None => table.columns.push(column),
                Some(why) => table.left_out.push(LeftOut { attnum: column.attnum, column: column.name, why }),
            }
        }
    }
    let tables = tables.into_iter().map(|(table, _)| table).collect();
    Ok(Seen { tables, snapshot: snapshot.parse().ok(), past: Lsn::ZERO })
}

async fn published_schemas(
    client: &Client,
    publication: &str,
    oids: &[u32],
) -> Result<HashMap<u32, String>, Error> {
    let known = "SELECT to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL";
    if !client.query_one(known, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(HashMap::new());
    }
    let rows = client.query(SCHEMAS, &[&publication, &oids]).await?;
    rows.iter().map(|row| Ok((row.try_get("oid")?, row.try_get("published_in")?))).collect()
}

/// The tables that `publication` streams, with their sizes; otherwise like [`look`].
pub async fn published_tables(
    client: &Client,
    publication: &str,
    excluded_columns: &[String],
) -> Result<Vec<SourceTable>, Error> {
    let mut tables = look(client, publication, excluded_columns).await?.tables;
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    for row in client.query(SIZES, &[&oids]).await? {
        let oid: u32 = row.try_get("oid")?;
        if let Some(table) = tables.iter_mut().find(|table| table.oid == oid) {
            table.bytes = row.try_get("bytes")?;
        }
    }
    Ok(tables)
}

/// The key that all leaves of a partitioned table have, by the table's OID.
async fn leaf_keys(
    client: &Client,
    tables: &[(SourceTable, Option<Vec<String>>)],
) -> Result<HashMap<u32, Vec<String>>, Error> {
    let roots: Vec<u32> =
        tables.iter().filter(|(table, _)| table.kind == 'p').map(|(table, _)| table.oid).collect();
    let mut keys: HashMap<u32, Vec<String>> = HashMap::new();
    if roots.is_empty() {
        return Ok(keys);
    }
    for row in client.query(LEAF_KEYS, &[&roots]).await? {
        let columns: Vec<String> = row.try_get::<_, Option<_>>("columns")?.unwrap_or_default();
        let parted_by: Vec<Option<String>> = row.try_get::<_, Option<_>>("parted_by")?.unwrap_or_default();
        let unique = parted_by.iter().all(|by| by.as_ref().is_some_and(|by| columns.contains(by)));
        let key = keys.entry(row.try_get("root")?).or_insert_with(|| columns.clone());
        let alike = key.len() == columns.len() && columns.iter().all(|column| key.contains(column));
        if !alike || !unique {
            key.clear();
        }
    }
    Ok(keys)
}

fn why_left_out(
    table: &SourceTable,
    column: &str,
    streamed: bool,
    generated: bool,
    excluded: &[String],
) -> Option<WhyLeftOut> {
    let qualified = format!("{}.{column}", table.name);
    match streamed {
        false if generated => Some(WhyLeftOut::Generated),
        false => Some(WhyLeftOut::ColumnList),
        true if excluded.iter().any(|name| name == column || *name == qualified) => {
            Some(WhyLeftOut::Configuration)
        }
        true => None,
    }
}

/// A table still without columns and keys, and the columns that the server says it streams: from 15
/// on those of the column list or all, before that it doesn't say.
fn table(row: &Row) -> Result<(SourceTable, Option<Vec<String>>), Error> {
    let (oids, files): (Vec<u32>, Vec<u32>) = (row.try_get("file_oids")?, row.try_get("files")?);
    let table = SourceTable {
        oid: row.try_get("oid")?,
        schema: row.try_get("nspname")?,
        name: row.try_get("relname")?,
        kind: character(row, "relkind")?,
        replica_identity: character(row, "relreplident")?,
        columns: Vec::new(),
        left_out: Vec::new(),
        primary_key: Vec::new(),
        leaf_key: Vec::new(),
        key_index: 0,
        identity_key: Vec::new(),
        row_filter: row.try_get("row_filter")?,
        estimated_rows: row.try_get("rows")?,
        bytes: 0,
        row_security: row.try_get("row_security")?,
        publication: row.try_get("pubname")?,
        publishes: Publishes {
            insert: row.try_get("pubinsert")?,
            update: row.try_get("pubupdate")?,
            delete: row.try_get("pubdelete")?,
            truncate: row.try_get("pubtruncate")?,
        },
        via_root: row.try_get("pubviaroot")?,
        last_attnum: row.try_get("relnatts")?,
        files: std::iter::zip(oids, files).collect(),
        published_as: row.try_get("published_as")?,
        published_in: String::new(),
        seen: String::new(),
    };
    Ok((table, row.try_get("column_list")?))
}

fn add_key(table: &mut SourceTable, row: &Row) -> Result<(), Error> {
    let columns: Vec<String> = row.try_get("columns")?;
    if row.try_get("is_identity")? {
        table.identity_key.clone_from(&columns);
    }
    if row.try_get("is_primary")? {
        table.primary_key = columns;
        if table.replica_identity == 'f' {
            table.key_index = row.try_get("indexrelid")?;
        }
    }
    Ok(())
}

/// A column, mirrored or not.
struct Found {
    column: SourceColumn,
    generated: bool,
    streamable: bool,
}

/// The columns of each table, by its OID.
async fn all_columns(client: &Client, oids: &[u32]) -> Result<HashMap<u32, Vec<Found>>, Error> {
    let types = read_types(client, oids).await?;
    let mut columns: HashMap<u32, Vec<Found>> = HashMap::new();
    let rows = client.query(COLUMNS, &[&oids]).await?;
    let mut defaults = HashMap::new();
    if rows.iter().any(|row| row.try_get("has_default").unwrap_or(false)) {
        defaults = constant_defaults(client, oids).await?;
    }
    for row in rows {
        let key = TypeKey { oid: row.try_get("atttypid")?, modifier: row.try_get("atttypmod")? };
        // Retyped between the two queries: as if the column came after them. The next look has it.
        let Some(data_type) = types.get(&key) else { continue };
        let column = SourceColumn {
            attnum: row.try_get("attnum")?,
            name: row.try_get("attname")?,
            data_type: data_type.clone(),
            not_null: row.try_get("attnotnull")?,
            deterministic: row.try_get("deterministic")?,
            constant_default: defaults.remove(&(row.try_get("attrelid")?, row.try_get("attnum")?)),
            stamp: row.try_get("stamp")?,
        };
        columns.entry(row.try_get("attrelid")?).or_default().push(Found {
            column,
            generated: row.try_get("generated")?,
            streamable: row.try_get("streamable")?,
        });
    }
    Ok(columns)
}

/// By table and attnum; in the look's transaction.
async fn constant_defaults(client: &Client, oids: &[u32]) -> Result<HashMap<(u32, i16), String>, Error> {
    client.batch_execute(&format!("SET LOCAL search_path = {VALUES_PATH}")).await?;
    let rows = client.query(DEFAULTS, &[&oids]).await?;
    client.batch_execute(&format!("SET LOCAL search_path = {CATALOG_PATH}")).await?;
    rows.iter()
        .map(|row| Ok(((row.try_get("attrelid")?, row.try_get("attnum")?), row.try_get("constant_default")?)))
        .collect()
}

/// A value of type `"char"`, which arrives as a signed byte.
pub(super) fn character(row: &Row, column: &str) -> Result<char, Error> {
    let byte: i8 = row.try_get(column)?;
    Ok(char::from(byte.cast_unsigned()))
}
