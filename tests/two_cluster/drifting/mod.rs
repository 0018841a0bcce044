//! The source changes its tables while rows flow: the mirror follows by itself, and ends equal to
//! it, with its views, or with one table `failed` and a reason.

mod adding;
mod between;
mod catalog;
mod columns;
mod hands;
mod keys;
mod odoo;

use crate::harness::{Pair, PairBuilder, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

/// The catalog is looked at every second.
fn builder() -> PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1")
}

#[track_caller]
fn mirroring(schema: &str) -> Pair {
    let pair = builder().start();
    pair.on_source(schema);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair
}

/// Somebody who inserts, updates and deletes rows by their columns `id` and `n`, in transactions of
/// a few statements, and notices nothing of what happens to the other columns.
struct Busy {
    over: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    writer: Option<JoinHandle<()>>,
}

impl Busy {
    fn with(pair: &Pair, tables: &[&str]) -> Busy {
        let (over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut session = pair.source.connect("odoo");
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        let writer = std::thread::spawn({
            let (over, rounds) = (Arc::clone(&over), Arc::clone(&rounds));
            move || {
                while !over.load(SeqCst) {
                    let round = rounds.fetch_add(1, SeqCst);
                    let (a, b) = (1 + round * 7 % 200, 10_000 + round);
                    let table = &tables[round % tables.len()];
                    let other = &tables[(round / 3) % tables.len()];
                    // One that is gone, or altered right now, is left alone.
                    let written = session.batch_execute(&format!(
                        "BEGIN; SET LOCAL lock_timeout = '500ms'; UPDATE {table} SET n = n + 1 WHERE id = {a}; INSERT INTO {table} (id, n) VALUES ({b}, {a});
                         UPDATE {other} SET n = -n WHERE id = {a} + 1; DELETE FROM {table} WHERE id = {b} - 40; COMMIT"
                    ));
                    if written.is_err() {
                        let _ = session.batch_execute("ROLLBACK");
                    }
                    std::thread::sleep(Duration::from_millis(3));
                }
            }
        });
        Busy { over, rounds, writer: Some(writer) }
    }

    /// Waits until something was written meanwhile.
    fn some_more(&self) {
        let before = self.rounds.load(SeqCst);
        eventually("rows flow", LIMIT, || (self.rounds.load(SeqCst) > before + 20).then_some(()));
    }

    #[track_caller]
    fn end(mut self) {
        self.over.store(true, SeqCst);
        let ended = self.writer.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the writer panicked");
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// How often a table was found to differ, as the history tells: what, and what was done.
fn history(pair: &Pair, table: &str) -> Vec<(String, String)> {
    let query = format!("SELECT what, done FROM odoo_mirror.ddl_history() WHERE table_name = '{table}'");
    let rows = pair.mirror.rows("mirror", &query);
    rows.into_iter()
        .map(|row| (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default()))
        .collect()
}

/// Waits until the history has more about the table than `before` entries, and returns the last.
#[track_caller]
fn told(pair: &Pair, table: &str, before: usize) -> (String, String) {
    eventually(&format!("the history tells of {table}"), LIMIT, || {
        let history = history(pair, table);
        (history.len() > before).then(|| history.last().cloned()).flatten()
    })
}

/// Waits until every published table is ready and equal.
#[track_caller]
fn ends_equal(pair: &Pair) {
    settled(pair);
    let failed = "SELECT string_agg(concat_ws(': ', table_name, state, reason, hint), E'\n') FROM odoo_mirror.tables() WHERE state <> 'ready'";
    assert_eq!(pair.mirror_value(failed), "");
    pair.assert_all_equal();
}

/// Waits until nothing is left to do.
#[track_caller]
fn settled(pair: &Pair) {
    pair.caught_up_within(LIMIT);
    eventually("all tables are ready", LIMIT, || {
        let query =
            "SELECT (SELECT count(*) FROM odoo_mirror.tables() WHERE state NOT IN ('ready', 'failed'))
                          + (SELECT count(*) FROM odoo_mirror_internal.reconciles)";
        (pair.mirror_value(query) == "0").then_some(())
    });
}
