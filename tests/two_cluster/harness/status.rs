//! What the mirror says of itself, waited for.

use super::pair::MIRROR;
use super::{Cluster, Pair, eventually};
use serde_json::Value;
use std::time::Duration;

/// Long enough for the slowest retry (15 s) and a busy machine.
const LIMIT: Duration = Duration::from_secs(40);

impl Cluster {
    /// status() of the mirror in database `database`; null while the server doesn't answer.
    pub fn mirror_status(&self, database: &str) -> Value {
        let rows = self.try_rows(database, "SELECT odoo_mirror.status()").ok();
        let text = rows.and_then(|mut rows| rows.pop()?.pop()?);
        text.map_or(Value::Null, |text| serde_json::from_str(&text).expect("status() is JSON"))
    }

    /// Waits until status() has what is asked for; the whole document.
    #[track_caller]
    pub fn wait_status(&self, what: &str, has: impl FnMut(&Value) -> bool) -> Value {
        self.wait_status_within(LIMIT, what, has)
    }

    #[track_caller]
    pub fn wait_status_within(
        &self,
        limit: Duration,
        what: &str,
        mut has: impl FnMut(&Value) -> bool,
    ) -> Value {
        let began = std::time::Instant::now();
        loop {
            let status = self.mirror_status(MIRROR);
            if has(&status) {
                return status;
            }
            assert!(began.elapsed() < limit, "not within {limit:?}: {what}\nstatus: {status:#}");
            super::rest(began);
        }
    }

    /// Waits until the mirror is in that state; the whole document.
    #[track_caller]
    pub fn wait_state(&self, state: &str) -> Value {
        self.wait_status(&format!("state {state}"), |status| status["state"] == state)
    }
}

impl Pair {
    #[track_caller]
    pub fn wait_state(&self, state: &str) -> Value {
        self.mirror.wait_state(state)
    }

    #[track_caller]
    pub fn wait_status(&self, what: &str, has: impl FnMut(&Value) -> bool) -> Value {
        self.mirror.wait_status(what, has)
    }

    /// Waits until a table is in that state; its reason and hint.
    #[track_caller]
    pub fn wait_table(&self, table: &str, state: &str) -> (String, String) {
        let query = format!(
            "SELECT state, coalesce(reason, ''), coalesce(hint, '') FROM odoo_mirror.tables() WHERE table_name = '{table}'"
        );
        let what = format!("table {table} is {state}");
        eventually(&what, LIMIT, || {
            let row = self.mirror.try_rows(MIRROR, &query).ok()?.pop()?;
            let mut row = row.into_iter().flatten();
            (row.next()? == state).then(|| (row.next().unwrap_or_default(), row.next().unwrap_or_default()))
        })
    }

    /// The sum of a metric over its labels, those that contain `labels` (JSON).
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let query = format!(
            "SELECT sum(value) FROM odoo_mirror.metrics() WHERE name = '{name}' AND labels @> '{labels}'"
        );
        self.mirror_value(&query).parse().unwrap_or_else(|_| panic!("no metric {name} {labels}"))
    }
}
