//! What the source says of a replication slot.
//!
//! Only looks: making, dropping and advancing slots is the replication session's.

use tokio_postgres::Client;

use crate::error::Error;
use crate::mirror::gate::Loss;
use crate::mirror::quote::quote_list;
use crate::wire::Lsn;

/// A row of pg_replication_slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    /// None for a physical slot.
    pub plugin: Option<String>,
    /// None for a physical slot.
    pub database: Option<String>,
    pub active_pid: Option<i32>,
    pub confirmed_flush: Option<Lsn>,
    pub restart_lsn: Option<Lsn>,
    /// Bytes of WAL from restart_lsn to the end: what the source keeps for this slot, if for nobody
    /// else.
    pub retained: Option<i64>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Bytes of WAL that may still be written before the slot is in danger; None for no limit.
    pub safe_wal_size: Option<i64>,
    pub two_phase: bool,
    /// Standbys keep it, and the source streams no more than those of synchronized_standby_slots
    /// have.
    pub failover: bool,
    /// Why the slot can't be used any more, in the server's words.
    pub invalidation: Option<String>,
}

impl SlotState {
    /// Why the slot is of no use any more, if it is.
    pub fn lost(&self) -> Option<Loss> {
        match self.invalidation.as_deref() {
            Some(reason) => Some(Loss::of(reason)),
            None => (self.wal_status.as_deref() == Some("lost")).then_some(Loss::WalRemoved),
        }
    }
}

/// two_phase came with 14, conflicting with 16, failover and invalidation_reason with 17.
const SLOT: &str = "
    SELECT s.plugin, s.database, s.active_pid, s.confirmed_flush_lsn::text AS confirmed_flush,
           s.restart_lsn::text AS restart,
           CASE WHEN NOT pg_is_in_recovery()
                THEN pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::int8 END AS retained, s.wal_status, s.safe_wal_size,
           coalesce((to_jsonb(s) ->> 'two_phase')::bool, false) AS two_phase,
           coalesce((to_jsonb(s) ->> 'failover')::bool, false) AS failover,
           coalesce(to_jsonb(s) ->> 'invalidation_reason',
                    CASE WHEN (to_jsonb(s) ->> 'conflicting')::bool THEN 'conflicting' END) AS invalidation
    FROM pg_replication_slots s
    WHERE s.slot_name = $1";

/// The slot of that name, in whatever database; None when there is none.
pub async fn slot(client: &Client, name: &str) -> Result<Option<SlotState>, Error> {
    let Some(row) = client.query_opt(SLOT, &[&name]).await? else { return Ok(None) };
    let lsn = |column: &str| -> Result<Option<Lsn>, Error> {
        let text: Option<String> = row.try_get(column)?;
        // The server printed it, so it parses; an LSN that didn't would be as good as none.
        Ok(text.and_then(|text| text.parse().ok()))
    };
    Ok(Some(SlotState {
        plugin: row.try_get("plugin")?,
        database: row.try_get("database")?,
        active_pid: row.try_get("active_pid")?,
        confirmed_flush: lsn("confirmed_flush")?,
        restart_lsn: lsn("restart")?,
        retained: row.try_get("retained")?,
        wal_status: row.try_get("wal_status")?,
        safe_wal_size: row.try_get("safe_wal_size")?,
        two_phase: row.try_get("two_phase")?,
        failover: row.try_get("failover")?,
        invalidation: row.try_get("invalidation")?,
    }))
}

/// synchronized_standby_slots came with 17; before, no slot waits for a standby.
const HOLDS_UP: &str = "
    SELECT coalesce((to_jsonb(s) ->> 'failover')::bool, false) AS waits_for_standbys, a.wait_event,
           ARRAY(SELECT btrim(w.name, ' \"') FROM unnest(string_to_array(current_setting('synchronized_standby_slots', true), ',')) w (name)
                 LEFT JOIN pg_replication_slots o ON o.slot_name = btrim(w.name, ' \"')
                 WHERE o.active_pid IS NULL) AS unread
    FROM pg_replication_slots s
    LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
    WHERE s.slot_name = $1";

/// What keeps the source from streaming what it has to the slot's reader, as a clause; None:
/// nothing that can be seen.
pub async fn holds_up(client: &Client, name: &str) -> Result<Option<String>, Error> {
    let Some(row) = client.query_opt(HOLDS_UP, &[&name]).await? else { return Ok(None) };
    let unread: Vec<String> = row.try_get("unread")?;
    let wait_event: Option<String> = row.try_get("wait_event")?;
    Ok(if row.try_get("waits_for_standbys")? && !unread.is_empty() {
        let unread = quote_list(unread.iter().map(String::as_str));
        Some(format!(
            "the source streams nothing that its standbys lack, and nobody reads {unread} of its synchronized_standby_slots"
        ))
    } else if wait_event.as_deref() == Some("WaitForStandbyConfirmation") {
        Some("the source streams nothing that its standbys lack, and waits for one of its synchronized_standby_slots".to_owned())
    } else {
        None
    })
}

/// What helps when standbys hold the stream up.
pub const STANDBYS_HINT: &str = "Start that standby, or take its slot out of synchronized_standby_slots on the source and reload it; or \
    let this mirror's slot wait for no standby: ALTER SYSTEM SET odoo_mirror.failover_slot = off here, and SELECT pg_reload_conf().";
