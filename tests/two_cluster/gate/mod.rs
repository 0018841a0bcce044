//! What the mirror stood on is gone or changed: it is recognised at once, told in words, and healed
//! by a new slot and a comparison of all tables, while readers keep their rows.

mod limit;
mod ourselves;
mod servers;
mod slot;
mod stuck;

use crate::harness::{Pair, eventually};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Within which a refusal is recognised, from the start on.
const SOON: Duration = Duration::from_secs(5);

/// Rows of table t that stay what they are on the source, whatever happens to it.
const KEPT: usize = 20_000;

/// A mirror of table t, with rows that are kept and a few that aren't, and of k, which has no key.
fn mirroring(pair: Pair) -> Pair {
    pair.on_source("CREATE TABLE t (id serial PRIMARY KEY, x text); CREATE TABLE k (x text); ALTER TABLE k REPLICA IDENTITY FULL");
    pair.on_source(&format!(
        "INSERT INTO t (x) SELECT 'kept' FROM generate_series(1, {KEPT}); INSERT INTO t (x) VALUES ('first'), ('second');
         INSERT INTO k VALUES ('kept')"
    ));
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair
}

/// A reader who looks all the time, and what it saw.
struct Reader {
    over: Arc<AtomicBool>,
    looks: JoinHandle<Seen>,
}

#[derive(Default)]
struct Seen {
    looks: usize,
    fewest: Option<usize>,
    /// What tables() said of t: state and reason.
    told: BTreeSet<String>,
    /// What status() said of it.
    stale: BTreeSet<String>,
}

impl Reader {
    fn of(pair: &Pair) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (done, conninfo) = (Arc::clone(&over), pair.mirror.conninfo("mirror"));
        let looks = std::thread::spawn(move || {
            let mut client = postgres::Client::connect(&conninfo, postgres::NoTls).expect("the mirror is up");
            let mut seen = Seen::default();
            let query = "SELECT (SELECT count(*) FROM odoo_mirror.t WHERE x = 'kept') \
                              + (SELECT count(*) FROM odoo_mirror.k WHERE x = 'kept'), \
                                (SELECT state || ': ' || coalesce(reason, '') FROM odoo_mirror.tables() WHERE table_name = 't'), \
                                odoo_mirror.status() -> 'stale_tables' ->> 't'";
            while !done.load(Ordering::Relaxed) {
                let row = client.query_one(query, &[]).expect("the mirror can be read");
                let rows = usize::try_from(row.get::<_, i64>(0)).expect("a count");
                seen.looks += 1;
                seen.fewest = Some(seen.fewest.map_or(rows, |fewest| fewest.min(rows)));
                seen.told.extend(row.get::<_, Option<String>>(1));
                seen.stale.extend(row.get::<_, Option<String>>(2));
            }
            seen
        });
        Self { over, looks }
    }

    /// It missed no row, and was told that they may be stale, and why.
    #[track_caller]
    fn was_never_short(self, what: &str, words: &str) {
        self.over.store(true, Ordering::Relaxed);
        let seen = self.looks.join().expect("the reader never fails");
        assert!(seen.looks > 10, "{what}: it looked {} times", seen.looks);
        assert_eq!(seen.fewest, Some(KEPT + 1), "{what}: in {} looks", seen.looks);
        let told = seen.told.iter().any(|told| told.starts_with("reconciling") && told.contains(words));
        assert!(told, "{what}: tables() said {:?}", seen.told);
        assert!(seen.stale.iter().any(|stale| stale.contains(words)), "{what}: {:?}", seen.stale);
    }
}

/// The newest refusal in status(), if it has these words.
fn refusal<'a>(status: &'a Value, words: &str) -> Option<&'a Value> {
    let newest = status["refusals"].get(0)?;
    newest["what"].as_str()?.contains(words).then_some(newest)
}

/// How many refusals there were.
fn refusals(pair: &Pair) -> usize {
    let count = pair.mirror_value("SELECT count(*) FROM odoo_mirror_internal.refusals");
    count.parse().expect("a count")
}

/// From `begun` on, when there were `before` refusals, status() soon shows another in these words.
#[track_caller]
fn is_recognised(pair: &Pair, what: &str, words: &str, before: usize, begun: Instant) {
    pair.mirror.wait_status_within(SOON, &format!("{what}: {words:?} is told"), |status| {
        refusals(pair) > before && refusal(status, words).is_some()
    });
    assert!(begun.elapsed() < SOON, "{what}: it took {:?}", begun.elapsed());
}

/// In the end all is as on the source, new changes too, and the refusal's record says when.
#[track_caller]
fn is_healed(pair: &Pair, what: &str, words: &str) {
    pair.mirror.wait_status_within(LIMIT, &format!("{what}: all is equal again"), |status| {
        refusal(status, words).is_some_and(|refusal| refusal["equal_at"].is_string())
    });
    pair.wait_ready(LIMIT);
    pair.on_source(&format!(
        "INSERT INTO t (x) VALUES ('after {what}'); INSERT INTO k VALUES ('after {what}')"
    ));
    pair.assert_all_equal();
    let status = pair.wait_state("streaming");
    assert_eq!(status["stale_tables"], serde_json::json!({}), "{what}");
    assert_eq!(status["stale"], false, "{what}");
}

/// Stops the mirror, and waits until nobody reads its slot.
#[track_caller]
fn stop(pair: &Pair) {
    pair.caught_up();
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.wait_state("stopped");
    let active = "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_type = 'logical'";
    eventually("the slot is free", LIMIT, || (pair.source_value(active) == "0").then_some(()));
}

/// Starts it: what had happened is recognised soon, and healed while readers miss nothing.
#[track_caller]
fn start_and_heal(pair: &Pair, what: &str, words: &str) {
    let reader = Reader::of(pair);
    let (before, begun) = (refusals(pair), Instant::now());
    pair.on_mirror("SELECT odoo_mirror.start()");
    is_recognised(pair, what, words, before, begun);
    is_healed(pair, what, words);
    reader.was_never_short(what, words);
}
