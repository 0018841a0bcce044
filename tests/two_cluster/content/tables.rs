//! What tables() and jobs() say of one table, and waiting for it.

use super::LIMIT;
use crate::harness::{Pair, eventually};

const DATABASE: &str = "mirror";

/// A table's line in tables().
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub state: String,
    pub reason: String,
    pub hint: String,
}

/// None when tables() has no such line, or can't be asked.
pub fn told(pair: &Pair, table: &str) -> Option<Told> {
    let query = format!("SELECT state, reason, hint FROM odoo_mirror.tables() WHERE table_name = '{table}'");
    let row = pair.mirror.try_rows(DATABASE, &query).ok()?.pop()?;
    let mut values = row.into_iter().map(Option::unwrap_or_default);
    Some(Told { state: values.next()?, reason: values.next()?, hint: values.next()? })
}

/// Waits until the table is in `state`; what is told of it then.
#[track_caller]
pub fn until(pair: &Pair, table: &str, state: &str) -> Told {
    let mut last = None;
    let deadline = std::time::Instant::now() + LIMIT;
    while std::time::Instant::now() < deadline {
        last = told(pair, table);
        if let Some(told) = last.as_ref().filter(|told| told.state == state) {
            return told.clone();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{table} isn't {state} within {LIMIT:?}: {last:?}\nstatus: {}", pair.status());
}

/// Asks for a resync and waits until its job is done.
#[track_caller]
pub fn resync(pair: &Pair, table: &str) {
    let job = pair.mirror_value(&format!("SELECT odoo_mirror.resync('{table}')"));
    let query = format!("SELECT state, error FROM odoo_mirror.jobs() WHERE id = {job}");
    let ended = eventually(&format!("resync('{table}') ends\nstatus: {}", pair.status()), LIMIT, || {
        let row = pair.mirror.try_rows(DATABASE, &query).ok()?.pop()?;
        matches!(row[0].as_deref(), Some("done" | "failed")).then_some(row)
    });
    assert_eq!(ended, [Some("done".to_owned()), None], "resync('{table}')");
}
