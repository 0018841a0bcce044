//! Takes a snapshot of the source that rows of a table may be read under.
//!
//! The order matters: LOCK takes no snapshot, so what it waited for is seen by the snapshot after
//! it; without it a TRUNCATE or a rewrite between snapshot and read gives no rows. Since nobody can
//! alter the table from there on, the definition that the snapshot shows is the one that names mean
//! in what is read next.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::catalog::published_as;
use super::link::{Event, Outbox};
use super::writers;
use crate::error::{Error, sqlstate};
use crate::mirror::definition;
use crate::mirror::quote::{quote_identifier, quote_literal};
use crate::mirror::session_settings::VALUES_PATH;
use crate::mirror::snapshot::Snapshot;
use crate::mirror::source_table::SourceTable;
use crate::wire::Lsn;

/// The table to be read, as it must still be when it is.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub table: SourceTable,
    /// What publishes it: that must be as it was, too.
    pub publication: String,
    /// The source's `server_version_num`.
    pub server_version: i32,
}

impl Wanted {
    /// As FROM and LOCK TABLE name it; the partitions of a partitioned table, published via its
    /// root, with it.
    pub(super) fn sql(&self) -> String {
        let only = if self.table.kind == 'p' { "" } else { "ONLY " };
        format!("{only}{}.{}", quote_identifier(&self.table.schema), quote_identifier(&self.table.name))
    }

    /// As people read it.
    fn name(&self) -> String {
        let is_plain = |part: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            part.chars().all(plain) && !part.starts_with(|c: char| c.is_ascii_digit())
        };
        let read = |part: &str| if is_plain(part) { part.to_owned() } else { quote_identifier(part) };
        format!("{}.{}", read(&self.table.schema), read(&self.table.name))
    }
}

/// A snapshot that was taken, and what was read with it.
pub(super) struct Snapshotted {
    pub(super) text: String,
    pub(super) snapshot: Snapshot,
    /// Past every commit that it sees.
    pub(super) past: Lsn,
    pub(super) filenode: u32,
}

/// What came of it.
pub(super) enum Guarded {
    /// A transaction with this snapshot is open.
    Taken(Snapshotted),
    /// Something on the source is in the way, and was for as long as there was patience.
    Late(String),
    /// The table isn't what the mirror takes it for: nothing may be read by that.
    Drifted(String),
}

/// What the snapshot at hand shows of the table. From the catalog's rows alone: functions like
/// format_type or pg_get_expr would tell what is there by now.
const SHOWN: &str = concat!(
    "SELECT pg_catalog.json_build_object(
        'schema', n.nspname, 'name', c.relname, 'kind', c.relkind, 'replica_identity', c.relreplident,
        'last_attnum', c.relnatts,
        'columns', (
            SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname, a.atttypid::int8, a.atttypmod,
                       l.collisdeterministic, a.attgenerated <> '') ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
        'primary_key', (
            SELECT pg_catalog.json_agg(a.attname ORDER BY k.position)
            FROM pg_catalog.pg_index i
            CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE i.indrelid = c.oid AND i.indisvalid AND i.indisprimary AND i.indimmediate AND k.position <= i.indnkeyatts),
        'identity_key', (
            SELECT pg_catalog.json_agg(a.attname ORDER BY k.position)
            FROM pg_catalog.pg_index i
            CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE i.indrelid = c.oid AND i.indisvalid AND i.indisreplident AND k.position <= i.indnkeyatts),
        'published_as', (SELECT ",
    published_as!(),
    " FROM pg_catalog.pg_publication p WHERE p.pubname = $publication),
        'published_in', $schemas)::text
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $table"
);

/// From version 15 on.
const SCHEMAS: &str = "(
            SELECT pg_catalog.string_agg(pg_catalog.concat_ws('/', s.oid, s.xmin), ' ' ORDER BY s.oid)
            FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_namespace s ON s.pnpubid = p.oid
            WHERE p.pubname = $publication AND (c.relnamespace = s.pnnspid OR EXISTS (
                SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a (oid)
                JOIN pg_catalog.pg_class k ON k.oid = a.oid WHERE k.relnamespace = s.pnnspid)))";

/// One row: the snapshot, a position past it, the table's file, its definition.
fn asked(wanted: &Wanted) -> String {
    let table = format!("{}::pg_catalog.oid", wanted.table.oid);
    let schemas = if wanted.server_version >= 150_000 { SCHEMAS } else { "NULL" };
    let shown = SHOWN.replace("$table", &table).replace("$schemas", schemas);
    let shown = shown.replace("$publication", &quote_literal(&wanted.publication));
    format!(
        "SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_current_wal_insert_lsn()::text, \
         coalesce(pg_catalog.pg_relation_filenode({table}), 0)::text, ({shown})"
    )
}

/// How the table differs, under the session's snapshot, from what is wanted.
pub async fn difference(client: &Client, wanted: &Wanted) -> Result<Option<&'static str>, Error> {
    let row = one_row(client, &asked(wanted)).await?;
    shown_difference(wanted, &row[3])
}

fn shown_difference(wanted: &Wanted, shown: &str) -> Result<Option<&'static str>, Error> {
    let unreadable = |_| Error::stop("what the source says of a table's columns could not be read");
    definition::difference(&wanted.table, shown).map_err(unreadable)
}

async fn one_row(client: &Client, query: &str) -> Result<[String; 4], Error> {
    let rows = client.simple_query(query).await?;
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let field = |index| row.and_then(|row| row.try_get(index).ok().flatten()).unwrap_or_default().to_owned();
    Ok(std::array::from_fn(field))
}

/// Opens a transaction whose snapshot sees all of `must_see`, and leaves it open; with `patience`,
/// gives up after that long.
pub(super) async fn snapshot(
    client: &Client,
    wanted: &Wanted,
    mut must_see: Vec<u64>,
    patience: Option<Duration>,
    outbox: &Outbox,
) -> Result<Guarded, Error> {
    let table = wanted.sql();
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '5s'; \
         SET LOCAL search_path = {VALUES_PATH}; \
         LOCK TABLE {table} IN ACCESS SHARE MODE"
    );
    let asked = asked(wanted);
    let began = Instant::now();
    let mut told = began;
    loop {
        if let Err(error) = client.batch_execute(&begin).await {
            let error = Error::from(error);
            let _ = client.batch_execute("ROLLBACK").await;
            match error.sqlstate.as_deref() {
                Some("55P03") => {
                    let why = format!("waiting for a lock on the source's table {}", wanted.name());
                    if patience.is_some() {
                        return Ok(Guarded::Late(why));
                    }
                    outbox.send(Event::Waiting(why)).await;
                    continue;
                }
                Some(code) if sqlstate::is_gone(code, &error.message) => {
                    return Ok(Guarded::Drifted(error.message));
                }
                _ => return Err(error),
            }
        }
        // That the source shows no snapshot, or no catalog, says nothing of this table.
        let [text, position, filenode, shown] = one_row(client, &asked).await.map_err(Error::that_passes)?;
        if let Some(why) = shown_difference(wanted, &shown)? {
            client.batch_execute("ROLLBACK").await?;
            return Ok(Guarded::Drifted(why.to_owned()));
        }
        let unreadable = || Error::stop("the source's snapshot could not be read");
        let snapshot: Snapshot = text.parse().map_err(|_| unreadable())?;
        must_see.retain(|xid| !snapshot.sees(*xid));
        if must_see.is_empty() {
            let past: Lsn = position.parse().map_err(|_| unreadable())?;
            let (past, filenode) = (past.as_end_position(), filenode.parse().unwrap_or(0));
            return Ok(Guarded::Taken(Snapshotted { text, snapshot, past, filenode }));
        }
        client.batch_execute("ROLLBACK").await?;
        let gives_up = patience.is_some_and(|patience| began.elapsed() > patience);
        if gives_up || patience.is_none() && told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            let blockers =
                writers::blockers(client, wanted.table.oid, &must_see).await.map_err(Error::that_passes)?;
            let why = writers::waiting_for(&wanted.name(), &blockers);
            if gives_up {
                return Ok(Guarded::Late(why));
            }
            outbox.send(Event::Waiting(why)).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
