//! Who is writing to a table of the source right now, and who that is.
//!
//! A snapshot proves nothing about a transaction that had begun to write before the slot existed
//! and hasn't ended: those are found by their locks, waited for, and shown while they are waited
//! for.

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
/// pg_locks and pg_prepared_xacts hide nothing. Beside each the tables that it has locked for
/// writing.
const BLOCKERS: &str = "
    SELECT own.transactionid::text::int8 AS xid, own.pid, p.gid,
           extract(epoch FROM clock_timestamp() - coalesce(p.prepared, a.xact_start))::float8 AS age,
           pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS near,
           coalesce(locked.tables, '{}') AS tables, coalesce(locked.it, false) AS holds_it
    FROM pg_locks own
    CROSS JOIN LATERAL (
        SELECT array_agg(DISTINCT quote_ident(n.nspname) || '.' || quote_ident(c.relname)) AS tables,
               bool_or(c.oid = $2 OR c.oid IN (SELECT relid FROM pg_partition_tree($2::oid))) AS it
        FROM pg_locks held
        JOIN pg_class c ON c.oid = held.relation AND c.relkind IN ('r', 'p')
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname NOT IN ('pg_catalog', 'pg_toast')
        WHERE held.virtualtransaction = own.virtualtransaction AND held.locktype = 'relation' AND held.granted
          AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND held.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                            'ExclusiveLock', 'AccessExclusiveLock')
    ) locked
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
    /// It has locked the table that was asked about, or a partition of it.
    pub holds_it: bool,
    /// All tables that it has locked for writing.
    pub tables: Vec<String>,
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
pub async fn blockers(client: &Client, table: u32, xids: &[u64]) -> Result<Vec<Blocker>, Error> {
    let low_halves: Vec<i64> = xids.iter().map(|xid| (xid & 0xFFFF_FFFF).cast_signed()).collect();
    let rows = client.query(BLOCKERS, &[&low_halves, &table]).await?;
    let mut blockers = Vec::with_capacity(rows.len());
    for row in &rows {
        let blocker = Blocker {
            pid: row.try_get("pid")?,
            gid: row.try_get("gid")?,
            age_seconds: row.try_get("age")?,
            xid: wide(row.try_get("xid")?, row.try_get("near")?),
            holds_it: row.try_get("holds_it")?,
            tables: row.try_get("tables")?,
        };
        if xids.contains(&blocker.xid) {
            blockers.push(blocker);
        }
    }
    Ok(blockers)
}

/// What is waited for, as a clause. `table` is the one that was asked about; each transaction is
/// told with what it really holds.
pub fn waiting_for(table: &str, blockers: &[Blocker]) -> String {
    const MOST_TABLES: usize = 3;
    let mut by_table: Vec<(String, Vec<String>)> = Vec::new();
    for blocker in blockers {
        let held = match blocker.holds_it || blocker.tables.is_empty() {
            true => table.to_owned(),
            false => {
                let more = if blocker.tables.len() > MOST_TABLES { " and others" } else { "" };
                blocker.tables.iter().take(MOST_TABLES).cloned().collect::<Vec<_>>().join(", ") + more
            }
        };
        let said = blocker.to_string();
        match by_table.iter_mut().find(|(known, _)| *known == held) {
            // A subtransaction comes with its transaction.
            Some((_, list)) if list.contains(&said) => {}
            Some((_, list)) => list.push(said),
            None => by_table.push((held, vec![said])),
        }
    }
    if by_table.is_empty() {
        return format!("waiting for transactions on the source that wrote {table} to be visible");
    }
    let each = by_table.iter().map(|(held, list)| format!("that write {held}: {}", list.join(", ")));
    format!("waiting for transactions on the source {}", each.collect::<Vec<_>>().join("; and "))
}

/// The xid with its upper half. Both numbers come as the server's bigint, which neither outgrows.
fn wide(xid: i64, near: i64) -> u64 {
    widen(xid as u32, near.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::{Blocker, waiting_for, wide};

    #[test]
    fn who_is_waited_for_is_told_with_the_table_that_it_holds() {
        let blocker = |pid, holds_it, tables: &[&str]| Blocker {
            pid: Some(pid),
            gid: None,
            age_seconds: Some(3.2),
            xid: 700,
            holds_it,
            tables: tables.iter().map(|&table| table.to_owned()).collect(),
        };
        let told = |blockers: &[Blocker]| {
            waiting_for("public.t", blockers).replace("waiting for transactions on the source ", "")
        };
        let writes_it = blocker(7, true, &["public.t", "public.u"]);
        assert_eq!(told(std::slice::from_ref(&writes_it)), "that write public.t: pid 7 (open for 3 s)");
        let subtransaction = Blocker { xid: 701, ..writes_it.clone() };
        assert_eq!(told(&[writes_it, subtransaction]), "that write public.t: pid 7 (open for 3 s)");
        assert_eq!(
            told(&[blocker(7, false, &["public.u"]), blocker(8, true, &["public.t"])]),
            "that write public.u: pid 7 (open for 3 s); and that write public.t: pid 8 (open for 3 s)"
        );
        let prepared = Blocker { gid: Some("p".to_owned()), age_seconds: None, ..blocker(0, true, &[]) };
        assert_eq!(told(&[prepared]), "that write public.t: prepared transaction 'p'");
        assert_eq!(told(&[]), "that wrote public.t to be visible");
    }

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
