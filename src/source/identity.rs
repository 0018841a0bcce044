//! Which server and database the source is, and how it is set.
//!
//! Everything here may be read by an ordinary role.

use tokio_postgres::Client;

use crate::error::Error;

/// A source, as an ordinary session sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceIdentity {
    /// None where the role may not call pg_control_system(), which PUBLIC may unless somebody
    /// revoked it; IDENTIFY_SYSTEM on the replication session has it too.
    pub system_identifier: Option<u64>,
    /// The timeline that is being written; None in recovery.
    pub timeline: Option<u32>,
    pub database: String,
    pub database_oid: u32,
    /// As in 150020.
    pub server_version_num: i32,
    pub in_recovery: bool,
    pub wal_level: String,
    pub max_replication_slots: i32,
    pub max_wal_senders: i32,
    /// Milliseconds; 0 for no timeout.
    pub wal_sender_timeout_ms: i64,
    pub block_size: i32,
    /// Bytes.
    pub wal_segment_size: i64,
    /// When the server was started: microseconds since 2000-01-01.
    pub started_at: i64,
}

/// The timeline of the last checkpoint lags behind a promotion; that of the WAL's file name
/// doesn't.
const IDENTITY: &str = "
    SELECT current_database() AS database, d.oid AS database_oid, pg_is_in_recovery() AS in_recovery,
           CASE WHEN NOT pg_is_in_recovery() THEN
               ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int8
           END AS timeline,
           current_setting('server_version_num')::int4 AS version,
           current_setting('wal_level') AS wal_level,
           current_setting('max_replication_slots')::int4 AS max_replication_slots,
           current_setting('max_wal_senders')::int4 AS max_wal_senders,
           (SELECT setting::int8 FROM pg_settings WHERE name = 'wal_sender_timeout') AS wal_sender_timeout,
           current_setting('block_size')::int4 AS block_size,
           (SELECT setting::int8 FROM pg_settings WHERE name = 'wal_segment_size') AS wal_segment_size,
           (extract(epoch FROM pg_postmaster_start_time() - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8
               AS started_at,
           has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS may_read_control
    FROM pg_database d
    WHERE d.datname = current_database()";

/// Reads who the source is.
pub async fn identify(client: &Client) -> Result<SourceIdentity, Error> {
    let row = client.query_one(IDENTITY, &[]).await?;
    let system_identifier = if row.try_get("may_read_control")? {
        let control = client.query_one("SELECT system_identifier FROM pg_control_system()", &[]).await?;
        Some(control.try_get::<_, i64>(0)?.cast_unsigned())
    } else {
        None
    };
    let timeline: Option<i64> = row.try_get("timeline")?;
    Ok(SourceIdentity {
        system_identifier,
        timeline: timeline.and_then(|timeline| u32::try_from(timeline).ok()),
        database: row.try_get("database")?,
        database_oid: row.try_get("database_oid")?,
        server_version_num: row.try_get("version")?,
        in_recovery: row.try_get("in_recovery")?,
        wal_level: row.try_get("wal_level")?,
        max_replication_slots: row.try_get("max_replication_slots")?,
        max_wal_senders: row.try_get("max_wal_senders")?,
        wal_sender_timeout_ms: row.try_get("wal_sender_timeout")?,
        block_size: row.try_get("block_size")?,
        wal_segment_size: row.try_get("wal_segment_size")?,
        started_at: row.try_get("started_at")?,
    })
}
