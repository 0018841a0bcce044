//! Changes applied: folded or not, each once, and never a source transaction in part.

use super::{LIMIT, builder, mirroring, writers};
use crate::harness::{Rng, eventually};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

#[test]
fn readers_never_see_a_part_of_a_source_transaction() {
    let pair = builder().mirror_conf("odoo_mirror.batch_size", "10").start();
    super::begin(
        &pair,
        "CREATE TABLE a (id int PRIMARY KEY, balance int); CREATE TABLE b (id int PRIMARY KEY, balance int);
         CREATE TABLE entry (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount int);
         INSERT INTO a SELECT n, 100 FROM generate_series(1, 300) n; INSERT INTO b SELECT n, 100 FROM generate_series(1, 300) n",
    );
    let done = AtomicBool::new(false);
    let seen = AtomicUsize::new(0);
    thread::scope(|scope| {
        let raise = super::Raise(&done);
        let reader = scope.spawn(|| {
            let mut session = pair.mirror.connect("mirror");
            let query = "SELECT (SELECT sum(balance) FROM odoo_mirror.a) + (SELECT sum(balance) FROM odoo_mirror.b),
                    coalesce((SELECT sum(amount) FROM odoo_mirror.entry), 0), (SELECT count(*) FROM odoo_mirror.entry)";
            let mut states = std::collections::BTreeSet::new();
            while !done.load(SeqCst) {
                let row = session.query_one(query, &[]).expect("readers aren't disturbed");
                assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (60_000, 0));
                states.insert(row.get::<_, i64>(2));
                seen.store(states.len(), SeqCst);
            }
        });
        let mut session = pair.source.connect("odoo");
        let mut rng = Rng::seeded(6);
        // On a busy machine all may be shown in a step or two: then there are more.
        for round in (0..3000).take_while(|round| *round < 300 || seen.load(SeqCst) <= 3) {
            let (from, to) = (rng.number(1..301), rng.number(1..301));
            // Now and then one that is many batches long.
            let (from, to) = if round % 50 == 0 {
                ("true".to_owned(), "true".to_owned())
            } else {
                (format!("id = {from}"), format!("id = {to}"))
            };
            let transfer = format!(
                "BEGIN; UPDATE a SET balance = balance - 1 WHERE {from}; INSERT INTO entry (amount) VALUES (-1);
                 UPDATE b SET balance = balance + 1 WHERE {to}; INSERT INTO entry (amount) VALUES (1); COMMIT"
            );
            session.batch_execute(&transfer).expect("the source takes it");
        }
        pair.caught_up();
        drop(raise);
        reader.join().expect("the reader saw a part");
    });
    let seen = seen.into_inner();
    assert!(seen > 3, "the reader saw {seen} states, too few to prove anything");
    pair.assert_all_equal();
}

#[test]
fn each_change_counts_once_while_the_mirror_dies_again_and_again() {
    let mut rng = Rng::seeded(7);
    let pair = builder().proxied().start();
    // Without a key nothing but exactly-once keeps a row from being there twice.
    super::begin(
        &pair,
        "CREATE TABLE event (n int); CREATE TABLE total (id int PRIMARY KEY, n int); INSERT INTO total VALUES (1, 0)",
    );
    let done = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let raise = super::Raise(&done);
        let writer = scope.spawn(|| {
            let mut session = pair.source.connect("odoo");
            let mut n = 0;
            while !done.load(SeqCst) {
                n += 1;
                let mode = if n % 3 == 0 { "off" } else { "on" };
                let statement = format!(
                    "SET synchronous_commit = {mode}; BEGIN; INSERT INTO event VALUES ({n}); UPDATE total SET n = n + 1; COMMIT"
                );
                session.batch_execute(&statement).expect("the source takes it");
            }
            n
        });
        for _ in 0..7 {
            thread::sleep(Duration::from_millis(rng.number(100..900) as u64));
            writers::break_something(&pair, &mut rng);
        }
        drop(raise);
        writer.join().expect("the writer panicked")
    });
    pair.caught_up_within(super::LIMIT);
    let counted = pair
        .mirror_value("SELECT count(*) || ' ' || count(DISTINCT n) || ' ' || max(n) FROM odoo_mirror.event");
    assert_eq!(counted, format!("{written} {written} {written}"));
    pair.assert_all_equal();
}

#[test]
fn rows_that_somebody_rewrites_here_in_the_same_moment_end_as_on_the_source() {
    let pair = mirroring(
        "CREATE TABLE busy (id int PRIMARY KEY, x text, n int); CREATE INDEX ON busy (n);
         INSERT INTO busy SELECT n, 'old', 0 FROM generate_series(1, 20) n",
    );
    let done = AtomicBool::new(false);
    let rewritten = AtomicUsize::new(0);
    thread::scope(|scope| {
        let raise = super::Raise(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut session = pair.mirror.connect("mirror");
                let mut rng = Rng::seeded(7);
                while !done.load(SeqCst) {
                    let id = rng.number(1..21);
                    let rewrite = format!("UPDATE odoo_mirror.busy SET x = x WHERE id = {id}");
                    // Two that lock each other out, or wait too long, are told so.
                    if session.batch_execute(&rewrite).is_ok() {
                        rewritten.fetch_add(1, SeqCst);
                    }
                }
            });
        }
        let mut session = pair.source.connect("odoo");
        let mut rng = Rng::seeded(8);
        // Until both wrote a row in one moment, which costs the mirror a second try.
        let met = || pair.status().contains("tuple concurrently");
        for round in (0..6000).take_while(|round| *round < 300 || round % 100 != 0 || !met()) {
            let id = rng.number(1..21);
            let change = match round % 10 {
                0 => format!(
                    "DELETE FROM busy WHERE id = {id}; INSERT INTO busy VALUES ({id}, 'again', {round})"
                ),
                1 => format!("UPDATE busy SET n = {round}"),
                _ => format!("UPDATE busy SET x = 'x{round}', n = n + {} WHERE id = {id}", round % 3),
            };
            session.batch_execute(&change).expect("the source takes it");
            thread::sleep(Duration::from_millis(2));
        }
        pair.caught_up();
        drop(raise);
    });
    assert!(rewritten.load(SeqCst) > 100, "too few to be in the way");
    pair.assert_all_equal();
    let refused = "SELECT count(*) FROM odoo_mirror.failures()";
    assert_eq!(pair.mirror_value(refused), "0");
    assert_eq!(
        pair.mirror_value("SELECT state FROM odoo_mirror.tables() WHERE table_name = 'busy'"),
        "ready"
    );
}

#[test]
fn what_a_deferred_trigger_refuses_for_now_is_not_lost_when_the_mirror_is_stopped_meanwhile() {
    let pair = mirroring("CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1)");
    pair.on_mirror(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END $$;
         CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON odoo_mirror.late DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION public.refuse();
         ALTER TABLE odoo_mirror.late ENABLE ALWAYS TRIGGER refuse",
    );
    pair.on_source("INSERT INTO late VALUES (2)");
    eventually("it is refused", LIMIT, || pair.status().contains("not now").then_some(()));
    pair.on_mirror("SELECT odoo_mirror.stop()");
    eventually("it stops", LIMIT, || pair.status().contains("\"state\": \"stopped\"").then_some(()));
    pair.on_mirror("DROP TRIGGER refuse ON odoo_mirror.late");
    pair.on_mirror("SELECT odoo_mirror.start()");
    eventually("it streams", LIMIT, || pair.status().contains("\"state\": \"streaming\"").then_some(()));
    pair.caught_up();
    pair.assert_all_equal();
}

#[test]
fn a_users_trigger_on_a_mirror_table_does_not_fire() {
    let pair = mirroring("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x')");
    pair.on_mirror(
        "CREATE TABLE fired (what text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (TG_OP); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON odoo_mirror.t FOR EACH ROW EXECUTE FUNCTION note()",
    );
    pair.on_source("INSERT INTO t VALUES (2, 'x'); UPDATE t SET a = 'y'; DELETE FROM t WHERE id = 1");
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT count(*) FROM fired"), "0");
}

#[test]
fn a_users_column_and_index_on_a_mirror_table_are_left_alone() {
    let pair =
        mirroring("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x'), (2, 'x')");
    pair.on_mirror(
        "ALTER TABLE odoo_mirror.t ADD COLUMN remark text DEFAULT 'none', ADD COLUMN twice int GENERATED ALWAYS AS (id * 2) STORED;
         CREATE INDEX ON odoo_mirror.t (a); UPDATE odoo_mirror.t SET remark = 'mine' WHERE id = 1",
    );
    pair.on_source("UPDATE t SET a = 'y'; INSERT INTO t VALUES (3, 'z')");
    pair.on_source("UPDATE t SET a = 'w' WHERE id = 3");
    pair.assert_all_equal();
    let query = "SELECT string_agg(remark || twice, ' ' ORDER BY id) FROM odoo_mirror.t";
    assert_eq!(pair.mirror_value(query), "mine2 none4 none6");
}

#[test]
fn a_table_of_another_schema_is_mirrored_under_both_names() {
    let pair = builder().start();
    pair.on_source("CREATE SCHEMA shop; CREATE TABLE shop.t (id int PRIMARY KEY, a text); INSERT INTO shop.t VALUES (1, 'x'); CREATE TABLE t (id int PRIMARY KEY)");
    pair.publish("shop.t, t");
    pair.configure_and_start();
    super::tables::until(&pair, "shop__t", "ready");
    super::tables::until(&pair, "t", "ready");
    pair.on_source("UPDATE shop.t SET a = 'y'; INSERT INTO shop.t VALUES (2, 'z')");
    pair.caught_up();
    assert_eq!(
        pair.mirror_value("SELECT string_agg(id || a, ',' ORDER BY id) FROM odoo_mirror.shop__t"),
        "1y,2z"
    );
}

#[test]
fn a_prepared_transaction_shows_when_it_is_committed_and_never_when_it_is_rolled_back() {
    let pair = mirroring("CREATE TABLE t (id int PRIMARY KEY, a text)");
    let mut session = pair.source.connect("odoo");
    for statement in [
        "BEGIN; INSERT INTO t VALUES (3, 'in two phases'); PREPARE TRANSACTION 'yes'",
        "BEGIN; INSERT INTO t VALUES (4, 'never'); PREPARE TRANSACTION 'no'",
    ] {
        session.batch_execute(statement).expect("it can be prepared");
    }
    pair.caught_up();
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.t"), "0");
    session.batch_execute("COMMIT PREPARED 'yes'").expect("it can be committed");
    session.batch_execute("ROLLBACK PREPARED 'no'").expect("it can be rolled back");
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT a FROM odoo_mirror.t"), "in two phases");
}
