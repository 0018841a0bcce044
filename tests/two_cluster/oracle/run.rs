//! One run: two servers, writers, readers, faults; then quiet, and all must be equal.

use super::checker::{keep_looking, look};
use super::faults::{Fault, choose};
use super::scene::{Scene, rows, sum};
use super::schema::{TABLES, WRITERS};
use super::writers::Writer;
use crate::harness::{Pair, PairBuilder, Rng, eventually};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

/// In which the mirror must have come back from whatever it was.
const RECOVERY: Duration = Duration::from_secs(120);

/// After so many faults it is left alone until it is well.
const BREATH: usize = 5;

#[derive(Clone, Copy)]
pub struct Plan {
    pub name: &'static str,
    pub seed: u64,
    pub faults: usize,
    pub often: Fault,
    /// Faults begin with the first copy, not after it.
    pub copying: bool,
    pub conf: fn(PairBuilder) -> PairBuilder,
}

/// One run, or as many as there is time for.
pub fn go_on_for_as_long_as_asked(plan: Plan) {
    let Ok(minutes) = std::env::var("CHAOS_MINUTES") else { return run(plan) };
    let minutes: f64 = minutes.parse().expect("CHAOS_MINUTES is a number");
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
    let mut seed = plan.seed + now.as_secs() * 1000;
    while Instant::now() < end {
        run(Plan { seed, ..plan });
        seed += 100;
    }
}

fn run(plan: Plan) {
    let mut rng = Rng::seeded(plan.seed);
    let bounds = Bounds::drawn(&mut rng);
    let pair = Pair::builder()
        .in_world(rng.seed())
        .mirror_conf("odoo_mirror.poll_interval", "1")
        .mirror_conf("odoo_mirror.lock_timeout", "500")
        .proxied();
    let scene = Scene::new((plan.conf)(bounds.set(pair)).start());
    let pair = &scene.pair;
    scene.tell(format_args!("run {} with ODOO_MIRROR_SEED={}, {bounds:?}", plan.name, rng.seed()));
    pair.on_source("CREATE TABLE filler (id int PRIMARY KEY, a text)");
    pair.publish_all();
    let commits = thread::scope(|scope| {
        let ends = Ends(&scene);
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (scene, rng) = (&scene, rng.fork());
                scope.spawn(move || Writer::new(scene, number, rng).run())
            })
            .collect();
        let checker = {
            let (scene, rng) = (&scene, rng.fork());
            scope.spawn(move || keep_looking(scene, rng))
        };
        if plan.copying {
            // So that much is written meanwhile.
            slow_down(&scene, Duration::from_millis(10));
        }
        pair.configure_and_start();
        if !plan.copying {
            is_well(&scene);
        }
        for number in 0..plan.faults {
            thread::sleep(Duration::from_millis(*rng.pick(&[50, 300, 700, 1500])));
            let fault = choose(&mut rng, plan.often);
            scene.tell(format_args!("fault {}: {fault:?}", number + 1));
            fault.inject(&scene, &mut rng);
            stop_if_wrong(&scene);
            if (number + 1) % BREATH == 0 {
                slow_down(&scene, Duration::ZERO);
                is_well(&scene);
            }
        }
        is_well(&scene);
        drop(ends);
        checker.join().expect("the checker panicked");
        writers.into_iter().map(|writer| writer.join().expect("a writer panicked")).sum::<u64>()
    });
    all_is_equal(&scene);
    let (noticed, longest) = scene.altered().longest();
    let (looks, vouched) = (scene.looks.load(SeqCst), scene.vouched.load(SeqCst));
    assert!(vouched >= 2 * looks, "of {looks} looks only {vouched} tables were vouched for");
    println!(
        "oracle: {}: {} faults, {commits} commits of 5 writers, {noticed} times tables were altered (noticed after {longest:.0} s at most), \
         {looks} looks, of {:.1} of {} tables each, no row wrong (ODOO_MIRROR_SEED={})",
        plan.name,
        plan.faults,
        vouched as f64 / looks.max(1) as f64,
        TABLES.len(),
        rng.seed()
    );
}

/// How much the mirror does at once: what nobody would set, and anybody might.
#[derive(Debug)]
struct Bounds {
    batch_size: &'static str,
    copy_range_rows: &'static str,
    copy_workers: &'static str,
    compare_rows: &'static str,
}

impl Bounds {
    fn drawn(rng: &mut Rng) -> Bounds {
        let mut one = |of: &'static [&'static str]| of[rng.number(0..of.len() as i64) as usize];
        Bounds {
            batch_size: one(&["3", "50", "1000"]),
            copy_range_rows: one(&["50", "300", "100000"]),
            copy_workers: one(&["0", "1", "3"]),
            compare_rows: one(&["100", "2000"]),
        }
    }

    /// A plan that is about one of them sets it anew.
    fn set(&self, pair: PairBuilder) -> PairBuilder {
        pair.mirror_conf("odoo_mirror.batch_size", self.batch_size)
            .mirror_conf("odoo_mirror.copy_range_rows", self.copy_range_rows)
            .mirror_conf("odoo_mirror.copy_workers", self.copy_workers)
            .mirror_conf("odoo_mirror.compare_rows", self.compare_rows)
    }
}

fn slow_down(scene: &Scene, by: Duration) {
    if let Some(proxy) = &scene.pair.proxy {
        proxy.slow_down(by);
    }
}

/// Ends the threads of a run, also when it fails.
struct Ends<'a>(&'a Scene);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[track_caller]
fn stop_if_wrong(scene: &Scene) {
    let found = scene.found();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Every table is ready, while people write; and readers are shown what was committed from now on.
#[track_caller]
fn is_well(scene: &Scene) {
    let begun = Instant::now();
    // So that what was altered must be noticed by and by: nothing is excused for ever.
    scene.calm.store(true, SeqCst);
    all_are_ready(scene);
    let now = scene.history().commits();
    eventually("the mirror shows new commits, of all tables", RECOVERY, || {
        stop_if_wrong(scene);
        look(scene).filter(|shown| shown.commit > now && shown.tables == TABLES.len()).map(drop)
    });
    scene.calm.store(false, SeqCst);
    scene.tell(format_args!("  well again after {:.1} s", begun.elapsed().as_secs_f64()));
}

/// A table that left the publication and came back may be failed for a while.
#[track_caller]
fn all_are_ready(scene: &Scene) {
    let query =
        "SELECT coalesce(string_agg(table_name || ' ' || state || coalesce(': ' || reason, ''), '; '), '')
        FROM odoo_mirror.tables() WHERE state <> 'ready'";
    let published = scene.pair.published_tables().len().to_string();
    let (begun, mut others) = (Instant::now(), String::new());
    while begun.elapsed() < RECOVERY {
        stop_if_wrong(scene);
        let ready = "SELECT count(*)::text FROM odoo_mirror.tables() WHERE state = 'ready'";
        let ask = |query| scene.pair.mirror.try_rows("mirror", query).ok()?.pop()?.pop()?;
        if ask(ready) == Some(published.clone()) {
            return;
        }
        others = ask(query).unwrap_or(others);
        thread::sleep(Duration::from_millis(50));
    }
    panic!("not all tables are ready within {RECOVERY:?}: {others}");
}

/// Nobody writes any more: the model, the source and the mirror say the same, row by row.
fn all_is_equal(scene: &Scene) {
    let pair = &scene.pair;
    all_are_ready(scene);
    pair.caught_up_within(RECOVERY);
    let shown = eventually("the mirror shows all tables", RECOVERY, || {
        stop_if_wrong(scene);
        look(scene).filter(|shown| shown.tables == TABLES.len())
    });
    assert_eq!(shown.commit, scene.history().commits(), "the mirror has caught up, and shows less");
    let mut session = pair.source.connect("odoo");
    for row in rows(&mut session, "SELECT tab, sum(n), sum(h)::text FROM sums GROUP BY 1").expect("it is up")
    {
        let query = format!(
            "SELECT count(*), coalesce(sum(hashtextextended(r::text, 0)), 0)::text FROM {} r",
            row[0]
        );
        let found = rows(&mut session, &query).expect("it is up").remove(0);
        assert_eq!(sum(&found[0], &found[1]), sum(&row[1], &row[2]), "the model of {} is wrong", row[0]);
    }
    pair.assert_all_equal();
    columns_are_equal(pair);
    nothing_was_healed(scene);
    stop_if_wrong(scene);
}

/// Rows were compared in the columns that the source has: the mirror has no others, and of the same
/// types.
#[track_caller]
fn columns_are_equal(pair: &Pair) {
    let of = |schema: &str| {
        format!(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE c.relnamespace = '{schema}'::regnamespace AND c.relname LIKE 't\\_%' AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY 1, 2"
        )
    };
    assert_eq!(pair.mirror.rows("mirror", &of("odoo_mirror")), pair.source.rows("odoo", &of("public")));
}

const MISSING: &str = "rows were missing that the source changed";
const VERIFIED: &str = "a verify() found what nobody had done";
const REFUSED: &str = "the gate refused to go on, and nobody had touched the slot";

const UNBALANCED: &str = "changes were counted that went nowhere";

/// From when the slot was touched until all tables were equal again, in seconds since 1970.
fn until_healed(scene: &Scene) -> Vec<(f64, f64)> {
    let query = "SELECT extract(epoch FROM at), extract(epoch FROM coalesce(equal_at, now())) FROM odoo_mirror_internal.refusals ORDER BY at";
    let numbers = |row: Vec<Option<String>>| {
        let number =
            |place: usize| row[place].as_ref().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        (number(0), number(1))
    };
    let refusals: Vec<(f64, f64)> =
        scene.pair.mirror.rows("mirror", query).into_iter().map(numbers).collect();
    let healed = |&(began, ended): &(f64, f64)| {
        let of_it = refusals.iter().filter(|(at, _)| (began..ended + ASKED_WITHIN).contains(at));
        (began, of_it.map(|(_, equal)| *equal).fold(ended + ASKED_WITHIN, f64::max))
    };
    scene.losses().iter().map(healed).collect()
}

/// How long it may take until the gate is asked, in seconds, after the slot was touched.
const ASKED_WITHIN: f64 = 60.0;

/// Nobody but the mirror wrote into its tables. What it found wrong with them, and mended before a
/// reader saw it, is its own doing.
fn nothing_was_healed(scene: &Scene) {
    let mut asked = vec![
        (
            MISSING,
            "SELECT labels ->> 'table', value::text FROM odoo_mirror.metrics() WHERE labels ->> 'term' = 'missing' AND value > 0",
        ),
        (REFUSED, "SELECT what, extract(epoch FROM at) FROM odoo_mirror_internal.refusals"),
    ];
    asked.push((
        VERIFIED,
        "SELECT t.key, j.id || ': ' || t.value, extract(epoch FROM j.requested_at), extract(epoch FROM coalesce(j.finished_at, now()))
         FROM odoo_mirror.jobs() j, jsonb_each(j.result) t
         WHERE j.kind = 'verify' AND t.value ->> 'different' NOT IN ('0', 'false')",
    ));
    asked.push((
        UNBALANCED,
        "SELECT labels ->> 'table', value::text FROM odoo_mirror.metrics() WHERE name = 'etl_conservation_violations_total' AND value > 0",
    ));
    let healed = until_healed(scene);
    let refused =
        "SELECT count(*) FROM odoo_mirror_internal.refusals WHERE what NOT LIKE '%could not map filenode%'";
    let refused: usize = scene.pair.mirror_value(refused).parse().expect("a number");
    if refused > scene.losses().len() {
        scene.wrong(format!(
            "the gate refused {refused} times, and the slot was touched {} times",
            scene.losses().len()
        ));
    }
    for (what, query) in asked {
        for row in scene.pair.mirror.rows("mirror", query) {
            let row: Vec<String> = row.into_iter().flatten().collect();
            let at = |place: usize| row[place].parse::<f64>().expect("a time");
            // While it was not published, changes passed it by, and a verify() may have gone on
            // over that. And a table that was rewritten by an ALTER that isn't noticed differs.
            // What is healed is compared, and differs until it is.
            let after_a_loss = |(began, ended): &(f64, f64)| at(2) < *ended && *began < at(3);
            if what == VERIFIED && healed.iter().any(after_a_loss) {
                continue;
            }
            if what == VERIFIED
                && (scene.left().contains(row[0].as_str()) || scene.altered().met(&row[0], at(2), at(3)))
            {
                continue;
            }
            // So may the next change, which then misses what wasn't told; where rows are known by
            // all their values, after such an ALTER too.
            let is_keyless = TABLES.iter().any(|table| table.name == row[0] && table.key.is_empty());
            if what == MISSING
                && (scene.left().contains(row[0].as_str())
                    || is_keyless && scene.altered().met(&row[0], 0.0, f64::INFINITY))
            {
                continue;
            }
            let of_a_loss = |(began, ended): &(f64, f64)| (*began..ended + ASKED_WITHIN).contains(&at(1));
            // A server's own fault, met now and then by a slot that was made while tables were
            // altered; that the mirror leaves the place behind and heals is seen by all else.
            if what == REFUSED && row[0].contains("could not map filenode") {
                continue;
            }
            if what == REFUSED && scene.losses().iter().any(of_a_loss) {
                continue;
            }
            scene.wrong(format!("{what}: {}", row.join(", ")));
        }
    }
}
