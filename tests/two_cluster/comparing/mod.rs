//! verify() and resync(): the mirror is compared with the source while both are in use.

mod jobs;
mod keys;
mod old_sources;
mod races;
mod resync;
mod verify;

use crate::harness::{Pair, eventually};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// On a machine that others use too: a comparison waits for the source's WAL to be flushed, piece
/// by piece.
const LIMIT: Duration = Duration::from_secs(180);

/// Calls a function that returns a job, and waits until the job has ended; its state, result and
/// error.
#[track_caller]
pub fn job(pair: &Pair, call: &str) -> Job {
    let id = pair.mirror_value(&format!("SELECT odoo_mirror.{call}"));
    ended(pair, &id)
}

#[track_caller]
pub fn ended(pair: &Pair, id: &str) -> Job {
    let query = format!(
        "SELECT state, coalesce(result, '{{}}'), coalesce(error, '') FROM odoo_mirror.jobs() WHERE id = {id}"
    );
    eventually(&format!("job {id} ends"), LIMIT, || {
        let row = pair.mirror.try_rows("mirror", &query).ok()?.pop()?;
        let text = |index: usize| row[index].clone().unwrap_or_default();
        matches!(text(0).as_str(), "done" | "failed").then(|| Job {
            state: text(0),
            result: serde_json::from_str(&text(1)).expect("a document"),
            error: text(2),
        })
    })
}

/// Tells threads of a scope to end, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[derive(Debug)]
pub struct Job {
    pub state: String,
    pub result: serde_json::Value,
    pub error: String,
}

impl Job {
    #[track_caller]
    pub fn count(&self, table: &str, what: &str) -> i64 {
        self.result[table][what].as_i64().unwrap_or_else(|| panic!("no {what} of {table} in {self:?}"))
    }

    /// The keys that differ, as text.
    fn keys(&self, table: &str) -> Vec<String> {
        let found = self.result[table]["found"].as_array().cloned().unwrap_or_default();
        let mut keys: Vec<String> = found.iter().map(|found| found["key"].to_string()).collect();
        keys.sort();
        keys
    }
}
