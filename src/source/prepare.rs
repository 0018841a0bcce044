//! Whether a source can be mirrored as it is set, and what to do where it can't.
//!
//! Changes nothing. It runs before the slot is made, and again whenever somebody asks.

use tokio_postgres::Client;

use super::check::{Check, Stops};
use super::identity::SourceIdentity;
use super::prepare_tables::table_checks;
use super::slot::{STANDBYS_HINT, slot};
use crate::error::Error;
use crate::error::sqlstate::POOLER_HINT;
use crate::mirror::quote::{quote_identifier, quote_list};
use crate::mirror::shape::publish_everything;
use crate::mirror::source_table::{Publishes, SourceTable};

/// The oldest source that is mirrored.
const OLDEST_VERSION: i32 = 130_000;

/// The checks that fail when nothing is published.
const PUBLICATION: &str = "publication";
const PUBLISHED_TABLES: &str = "published tables";

/// What mends it that the publication streams nothing; None: it streams something.
pub fn nothing_is_published(checks: &[Check]) -> Option<&str> {
    let failed = |check: &&Check| !check.ok && [PUBLICATION, PUBLISHED_TABLES].contains(&check.name);
    checks.iter().find(failed).and_then(|check| check.hint.as_deref())
}

/// What the publication is for.
const PUBLISHED: [&str; 6] =
    ["account_move", "account_move_line", "res_partner", "project_task", "hr_expense", "hr_expense_sheet"];

/// What the views need beside those.
const NEEDED_BY_VIEWS: [&str; 4] =
    ["hr_employee", "project_project", "project_task_type", "project_task_user_rel"];

/// Looks at everything that the mirror needs of the source. `tables` are the published ones.
///
/// Fails only when the source can't be asked.
pub async fn checks(
    client: &Client,
    identity: &SourceIdentity,
    publication: &str,
    slot: &str,
    tables: &[SourceTable],
) -> Result<Vec<Check>, Error> {
    let mut checks = vec![version(identity), recovery(identity), wal_level(identity)];
    checks.push(pooler(client).await?);
    checks.push(role(client).await?);
    checks.push(encoding(client).await?);
    let published = publishes(client, publication).await?;
    let lists = Lists::read(client, tables).await?;
    checks.push(publication_exists(publication, published.is_some(), &lists));
    if let Some(published) = published {
        checks.push(publishes_everything(publication, published));
        checks.push(publication_has_tables(publication, tables, &lists));
        checks.push(views_are_complete(publication, &lists));
        checks.extend(table_checks(client, tables).await?);
    }
    checks.extend(slot_checks(client, identity, slot).await?);
    Ok(checks)
}

fn version(identity: &SourceIdentity) -> Check {
    const NAME: &str = "source version";
    let (major, minor) = (identity.server_version_num / 10_000, identity.server_version_num % 10_000);
    if identity.server_version_num >= OLDEST_VERSION {
        return Check::passed(NAME, format!("PostgreSQL {major}.{minor}"));
    }
    Check::failed(
        NAME,
        format!("the source runs PostgreSQL {major}, which is too old"),
        "Upgrade the source to PostgreSQL 13 or newer.",
    )
}

fn recovery(identity: &SourceIdentity) -> Check {
    const NAME: &str = "source is a primary";
    if !identity.in_recovery {
        return Check::passed(NAME, "the source is not in recovery");
    }
    Check::failed(
        NAME,
        "the source is in recovery, and a standby's snapshots can't prove what they contain",
        "Give the host and port of the primary, or promote this server: SELECT pg_promote();",
    )
}

fn wal_level(identity: &SourceIdentity) -> Check {
    const NAME: &str = "wal_level";
    if identity.wal_level == "logical" {
        return Check::passed(NAME, "wal_level is logical");
    }
    Check::failed(
        NAME,
        format!("wal_level is {} on the source, not logical", identity.wal_level),
        "ALTER SYSTEM SET wal_level = 'logical'; and restart the source.",
    )
}

/// A pooler that shares servers between transactions gives itself away when it hands out another
/// one. One that doesn't happen to is found when the replication session starts.
async fn pooler(client: &Client) -> Result<Check, Error> {
    const NAME: &str = "no pooler in the path";
    let mut pids = Vec::new();
    for _ in 0..3 {
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await?;
        pids.push(row.try_get::<_, i32>(0)?);
    }
    Ok(if pids.iter().all(|pid| *pid == pids[0]) {
        Check::passed(NAME, "one server process answers this session")
    } else {
        Check::failed(NAME, "several server processes answer one session", POOLER_HINT)
    })
}

async fn role(client: &Client) -> Result<Check, Error> {
    const NAME: &str = "replication privilege";
    // Where a provider keeps the attribute for itself, membership in its role stands for it.
    let sql = "
        SELECT r.rolname, r.rolsuper OR r.rolreplication OR EXISTS (
            SELECT FROM pg_roles p WHERE p.rolname = 'rds_replication' AND pg_has_role(r.oid, p.oid, 'MEMBER'))
        FROM pg_roles r
        WHERE r.rolname = current_user";
    let row = client.query_one(sql, &[]).await?;
    let name: String = row.try_get(0)?;
    Ok(if row.try_get(1)? {
        Check::passed(NAME, format!("role {} may replicate", quote_identifier(&name)))
    } else {
        let name = quote_identifier(&name);
        Check::failed(
            NAME,
            format!("role {name} may not replicate from the source"),
            format!("ALTER ROLE {name} REPLICATION;"),
        )
    })
}

/// Of SQL_ASCII nobody knows what its bytes mean, the source neither.
async fn encoding(client: &Client) -> Result<Check, Error> {
    const NAME: &str = "encoding";
    let row = client.query_one("SELECT getdatabaseencoding()::text", &[]).await?;
    let encoding: String = row.try_get(0)?;
    let found = format!("the encoding of the source's database is {encoding}");
    let check = if encoding == "SQL_ASCII" {
        let hint = "Values that are not UTF-8 can't be sent: dump the database and restore it into one with ENCODING 'UTF8'.";
        Check::failed(NAME, found, hint)
    } else {
        Check::passed(NAME, found)
    };
    Ok(check.stopping(Stops::Nothing))
}

/// None when there is no such publication.
async fn publishes(client: &Client, publication: &str) -> Result<Option<Publishes>, Error> {
    let sql = "SELECT pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname = $1";
    let Some(row) = client.query_opt(sql, &[&publication]).await? else { return Ok(None) };
    Ok(Some(Publishes {
        insert: row.try_get(0)?,
        update: row.try_get(1)?,
        delete: row.try_get(2)?,
        truncate: row.try_get(3)?,
    }))
}

/// The tables of the contract that this Odoo has.
struct Lists {
    to_publish: Vec<String>,
    /// Unpublished ones of those that the views need.
    missing: Vec<String>,
}

impl Lists {
    async fn read(client: &Client, tables: &[SourceTable]) -> Result<Self, Error> {
        let names: Vec<&str> = PUBLISHED.iter().chain(&NEEDED_BY_VIEWS).copied().collect();
        let sql = "
            SELECT c.relname
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'public' AND c.relname = ANY ($1) AND c.relkind IN ('r', 'p')";
        let mut there = Vec::new();
        for row in client.query(sql, &[&names]).await? {
            there.push(row.try_get::<_, String>(0)?);
        }
        let list = |wanted: &[&str]| -> Vec<String> {
            wanted
                .iter()
                .filter(|name| there.iter().any(|there| there == *name))
                .map(|&name| name.into())
                .collect()
        };
        let published =
            |name: &String| tables.iter().any(|table| table.schema == "public" && table.name == *name);
        let mut missing = list(&PUBLISHED);
        missing.extend(list(&NEEDED_BY_VIEWS));
        missing.retain(|name| !published(name));
        Ok(Lists { to_publish: list(&PUBLISHED), missing })
    }

    /// `FOR TABLE …` or `ADD TABLE …`, without its first word.
    fn table_clause(names: &[String]) -> String {
        if names.is_empty() { "TABLE …".to_owned() } else { format!("TABLE {}", quoted(names)) }
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("public.{}", quote_identifier(name))).collect();
    names.join(", ")
}

fn publication_exists(publication: &str, exists: bool, lists: &Lists) -> Check {
    const NAME: &str = PUBLICATION;
    let name = quote_identifier(publication);
    if exists {
        return Check::passed(NAME, format!("publication {name} exists"));
    }
    let tables = Lists::table_clause(&lists.to_publish);
    Check::failed(
        NAME,
        format!("publication {name} does not exist on the source"),
        format!("CREATE PUBLICATION {name} FOR {tables};"),
    )
}

fn publishes_everything(publication: &str, publishes: Publishes) -> Check {
    const NAME: &str = "published operations";
    if publishes.everything() {
        return Check::passed(NAME, "inserts, updates, deletes and truncates are published");
    }
    let name = quote_identifier(publication);
    Check::failed(
        NAME,
        format!("publication {name} doesn't publish {}", publishes.absent().join(", ")),
        publish_everything(publication),
    )
    .stopping(Stops::FirstStart)
}

fn publication_has_tables(publication: &str, tables: &[SourceTable], lists: &Lists) -> Check {
    const NAME: &str = PUBLISHED_TABLES;
    if !tables.is_empty() {
        return Check::passed(NAME, format!("{} published", count(tables.len(), "table")));
    }
    let name = quote_identifier(publication);
    let tables = Lists::table_clause(&lists.to_publish);
    Check::failed(
        NAME,
        format!("publication {name} has no tables"),
        format!("ALTER PUBLICATION {name} ADD {tables};"),
    )
}

fn views_are_complete(publication: &str, lists: &Lists) -> Check {
    const NAME: &str = "tables behind the views";
    if lists.missing.is_empty() {
        return Check::passed(NAME, "every table behind the views is published").stopping(Stops::Nothing);
    }
    let names = quote_list(lists.missing.iter().map(String::as_str));
    let tables = Lists::table_clause(&lists.missing);
    Check::failed(
        NAME,
        format!("not published, so that views show NULL for what they hold: {names}"),
        format!("ALTER PUBLICATION {} ADD {tables};", quote_identifier(publication)),
    )
    .stopping(Stops::Nothing)
}

/// With a slot that standbys keep, the source streams nothing that those of
/// synchronized_standby_slots (17 and newer) lack. Copies without a stream behind them would be old
/// in a moment.
pub async fn standbys(client: &Client) -> Result<Check, Error> {
    const NAME: &str = "standbys that the stream waits for";
    let sql = "
        SELECT coalesce(array_agg(btrim(w.name, ' \"')) FILTER (WHERE s.active_pid IS NULL), '{}'), count(*)
        FROM unnest(string_to_array(current_setting('synchronized_standby_slots', true), ',')) w (name)
        LEFT JOIN pg_replication_slots s ON s.slot_name = btrim(w.name, ' \"')";
    let row = client.query_one(sql, &[]).await?;
    let (unread, all): (Vec<String>, i64) = (row.try_get(0)?, row.try_get(1)?);
    if unread.is_empty() {
        return Ok(Check::passed(
            NAME,
            format!("{all} named by synchronized_standby_slots, none is missing"),
        ));
    }
    let unread = quote_list(unread.iter().map(String::as_str));
    let detail = format!(
        "the source streams nothing that its standbys lack, and nobody reads {unread} of its synchronized_standby_slots"
    );
    Ok(Check::failed(NAME, detail, STANDBYS_HINT).stopping(Stops::FirstStart).passing_by_itself())
}

/// The SQLSTATE of a life that ended since somebody else reads the slot: object_in_use.
pub const SLOT_IN_USE: &str = "55006";

/// The check that our own stream fails while it runs.
pub const SLOT_IS_FREE: &str = "slot is free";

async fn slot_checks(client: &Client, identity: &SourceIdentity, name: &str) -> Result<Vec<Check>, Error> {
    let quoted = quote_identifier(name);
    let Some(state) = slot(client, name).await? else {
        return Ok(vec![room_for_a_slot(client, identity).await?]);
    };
    const OURS: &str = "slot is ours";
    let drop = || {
        let literal = crate::mirror::quote::quote_literal(name);
        format!("Choose another slot name, or drop that one: SELECT pg_drop_replication_slot({literal});")
    };
    let ours = match (state.plugin.as_deref(), state.database.as_deref()) {
        (Some("pgoutput"), Some(database)) if database == identity.database => {
            Check::passed(OURS, format!("slot {quoted} decodes this database"))
        }
        (Some("pgoutput"), other) => {
            let other = quote_identifier(other.unwrap_or_default());
            Check::failed(OURS, format!("slot {quoted} belongs to database {other}"), drop())
        }
        (Some(plugin), _) => {
            Check::failed(OURS, format!("slot {quoted} uses plugin {plugin}, not pgoutput"), drop())
        }
        (None, _) => Check::failed(OURS, format!("slot {quoted} is a physical one"), drop()),
    };
    let free = match state.active_pid {
        None => Check::passed(SLOT_IS_FREE, format!("nobody reads slot {quoted}")),
        Some(pid) => Check::failed(
            SLOT_IS_FREE,
            format!("slot {quoted} is being read by process {pid} of the source"),
            format!("If that is another mirror's, or this one is a clone of it, give this one a slot of its own: configure(…, slot => 'another'). If nobody needs it: SELECT pg_terminate_backend({pid}); on the source."),
        )
        .passing_by_itself(),
    };
    Ok(vec![ours, free])
}

async fn room_for_a_slot(client: &Client, identity: &SourceIdentity) -> Result<Check, Error> {
    const NAME: &str = "room for a slot";
    let sql =
        "SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_stat_replication)";
    let row = client.query_one(sql, &[]).await?;
    let (slots, senders): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let full = [
        ("replication slots", "max_replication_slots", slots, identity.max_replication_slots),
        ("WAL senders", "max_wal_senders", senders, identity.max_wal_senders),
    ]
    .into_iter()
    .find(|(_, _, used, most)| *used >= i64::from(*most));
    Ok(match full {
        None => Check::passed(NAME, format!("{slots} of {} slots in use", identity.max_replication_slots)),
        Some((what, setting, used, most)) => Check::failed(
            NAME,
            format!("all {most} {what} of the source are in use"),
            format!(
                "ALTER SYSTEM SET {setting} = {}; and restart the source, or free one of them.",
                used + 5
            ),
        ),
    })
}

/// `1 table`, `2 tables`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
