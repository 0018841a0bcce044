//! Who is writing to a table of the source right now, and who that is.
//!
//! A snapshot proves nothing about a transaction that had begun to write before the slot existed
//! and hasn't ended: those are found by their locks, waited for, and shown while they are waited for.

use tokio_postgres::Client;

use crate::error::Error;
use crate::mirror::snapshot::widen;

/// A prepared transaction keeps its locks under the virtual transaction it had, or, after a
/// restart, under `-1/xid`: its xid's lock is beside them either way. Subtransactions' xids come
/// along and do no harm. The snapshot only lends its epoch.
const WRITERS: &str = "
    SELECT DISTINCT own.transactionid::text::int8 AS xid, pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS near
    FROM pg_locks held
    JOIN pg_locks own ON own.virtualtransaction = held.virtualtransaction
    WHERE held.locktype = 'relation' AND held.granted
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (held.relation = $1 OR held.relation IN (SELECT relid FROM pg_partition_tree($1::oid)))
      AND held.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                        'ExclusiveLock', 'AccessExclusiveLock')
      AND own.locktype = 'transactionid' AND own.granted AND own.mode = 'ExclusiveLock'
    ORDER BY 1";

/// pg_stat_activity hides another role's xid and start from a role without pg_read_all_stats;
/// pg_locks and pg_prepared_xacts hide nothing.
const BLOCKERS: &str = "
    SELECT own.transactionid::text::int8 AS xid, own.pid, p.gid,
           extract(epoch FROM clock_timestamp() - coalesce(p.prepared, a.xact_start))::float8 AS age,
           pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS near
    FROM pg_locks own
    LEFT JOIN pg_prepared_xacts p ON p.transaction = own.transactionid
    LEFT JOIN pg_stat_activity a ON a.pid = own.pid
    WHERE own.locktype = 'transactionid' AND own.granted AND own.mode = 'ExclusiveLock'
      AND own.transactionid::text::int8 = ANY ($1)
    ORDER BY age DESC NULLS LAST, 1";

/// A transaction of the source that is still open.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocker {
    /// None for a prepared transaction.
    pub pid: Option<i32>,
    /// A prepared transaction's name, for COMMIT PREPARED.
    pub gid: Option<String>,
    /// How long it has been open, or prepared; None when this role may not see it.
    pub age_seconds: Option<f64>,
    pub xid: u64,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.gid, self.pid) {
            (Some(gid), _) => write!(f, "prepared transaction '{gid}'")?,
            (None, Some(pid)) => write!(f, "pid {pid}")?,
            (None, None) => write!(f, "transaction {}", self.xid)?,
        }
        match self.age_seconds {
            Some(age) => write!(f, " (open for {age:.0} s)"),
            None => Ok(()),
        }
    }
}

/// The 64-bit xids of all transactions, prepared ones too, that hold ROW EXCLUSIVE or stronger on
/// the table or a partition of it.
pub async fn writers(client: &Client, table: u32) -> Result<Vec<u64>, Error> {
    let rows = client.query(WRITERS, &[&table]).await?;
    rows.iter().map(|row| Ok(wide(row.try_get("xid")?, row.try_get("near")?))).collect()
}

/// Those of `xids` that are still open, the oldest first. A subtransaction that has ended, or whose
/// transaction has, is not open.
pub async fn blockers(client: &Client, xids: &[u64]) -> Result<Vec<Blocker>, Error> {
    let low_halves: Vec<i64> = xids.iter().map(|xid| (xid & 0xFFFF_FFFF).cast_signed()).collect();
    let rows = client.query(BLOCKERS, &[&low_halves]).await?;
    let mut blockers = Vec::with_capacity(rows.len());
    for row in &rows {
        let blocker = Blocker {
            pid: row.try_get("pid")?,
            gid: row.try_get("gid")?,
            age_seconds: row.try_get("age")?,
            xid: wide(row.try_get("xid")?, row.try_get("near")?),
        };
        if xids.contains(&blocker.xid) {
            blockers.push(blocker);
        }
    }
    Ok(blockers)
}

/// The xid with its upper half. Both numbers come as the server's bigint, which neither outgrows.
fn wide(xid: i64, near: i64) -> u64 {
    widen(xid as u32, near.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::wide;

    #[test]
    fn an_xid_gets_the_epoch_that_puts_it_nearest_to_the_snapshot() {
        let epoch = 1_i64 << 32;
        assert_eq!(wide(700, 740), 700);
        assert_eq!(wide(750, 740), 750);
        assert_eq!(wide(5, 3 * epoch + 10), 3 * (1 << 32) + 5);
        assert_eq!(wide(0xFFFF_FFF0, 3 * epoch + 10), 2 * (1 << 32) + 0xFFFF_FFF0);
        assert_eq!(wide(3, 3 * epoch - 10), 3 * (1 << 32) + 3);
    }
}
