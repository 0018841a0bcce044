//! Keys of any type are compared piece by piece, whatever is estimated of the table and however
//! wide its rows are.

use super::{LIMIT, Over, job};
use crate::harness::{Pair, eventually};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

#[test]
fn tables_of_any_key_are_mended_in_pieces_while_others_go_on() {
    // Sorted otherwise on each side.
    let pair = Pair::builder()
        .source_database("TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C' ENCODING 'UTF8'")
        .mirror_database("TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'")
        .mirroring(
            "CREATE TABLE other (id int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp());
         CREATE TABLE u (id uuid PRIMARY KEY, x text); INSERT INTO u SELECT md5(n::text)::uuid, n FROM generate_series(1, 60000) n;
         CREATE TABLE t (id text PRIMARY KEY, x int);
         INSERT INTO t SELECT (ARRAY['a', 'B', 'é', 'Z', 'ß', '\"', 'b '])[n % 7 + 1] || n || repeat('é', n % 3), n FROM generate_series(1, 20000) n;
         CREATE TABLE c (a int, b text, d numeric, x int, PRIMARY KEY (a, b, d));
         INSERT INTO c SELECT n % 3, chr(65 + n % 60), n / 7.0, n FROM generate_series(1, 9000) n;
         ANALYZE u",
        );
    // No estimate counts: too many, too few, none.
    pair.on_source(
        "UPDATE pg_class SET reltuples = CASE relname WHEN 'u' THEN 100 WHEN 't' THEN 9e9 ELSE -1 END
         WHERE relname IN ('u', 't', 'c')",
    );
    for (table, key) in [("u", "md5('surplus')::uuid"), ("t", "'Éx'"), ("c", "1, 'É', 1.5")] {
        pair.on_mirror(&format!(
            "UPDATE odoo_mirror.{table} SET x = '7777777' WHERE hashtext({table}.*::text) % 100 = 0;
             DELETE FROM odoo_mirror.{table} WHERE hashtext({table}.*::text) % 100 = 1;
             INSERT INTO odoo_mirror.{table} VALUES ({key}, '5')"
        ));
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Over(&over);
        let slowest = scope.spawn(|| {
            let (mut slowest, mut n) = (Duration::ZERO, 0);
            while !over.load(SeqCst) {
                n += 1;
                pair.on_source(&format!(
                    "INSERT INTO other VALUES ({n}); UPDATE u SET x = x WHERE id = md5('{n}')::uuid"
                ));
                let began = Instant::now();
                let seen = format!("SELECT count(*) FROM odoo_mirror.other WHERE id = {n}");
                eventually("it is shown", LIMIT, || (pair.mirror_value(&seen) == "1").then_some(()));
                slowest = slowest.max(began.elapsed());
            }
            slowest
        });
        for table in ["u", "t", "c"] {
            let began = Instant::now();
            let done = job(&pair, &format!("resync('{table}')"));
            assert_eq!(done.state, "done", "{done:?}");
            assert!(done.count(table, "written") > 10, "{done:?}");
            eprintln!("{table}: {:?}", began.elapsed());
        }
        drop(ends);
        let slowest = slowest.join().expect("the others went on");
        eprintln!("slowest: {slowest:?}");
        assert!(slowest < Duration::from_secs(10), "nobody's rows wait for a table: {slowest:?}");
    });
    pair.assert_all_equal();
}

#[test]
fn wide_rows_are_compared_in_bounded_memory() {
    let pair = Pair::mirroring(
        "CREATE TABLE w (id uuid PRIMARY KEY, x text); ALTER TABLE w ALTER x SET STORAGE EXTERNAL;
         INSERT INTO w SELECT md5(n::text)::uuid, repeat(md5(n::text), 32768) FROM generate_series(1, 200) n;
         CREATE TABLE packed (id text PRIMARY KEY, x jsonb);
         INSERT INTO packed SELECT n, to_jsonb(repeat('x', 1000000)) FROM generate_series(1, 100) n",
    );
    pair.on_mirror("UPDATE odoo_mirror.w SET x = 'wrong'; UPDATE odoo_mirror.packed SET x = '1'");
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pair.worker_pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon")).expect("Linux tells it");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<i64>().ok()).expect("a number") / 1024
    };
    let (before, over) = (memory(), AtomicBool::new(false));
    let most = std::thread::scope(|scope| {
        let ends = Over(&over);
        let most = scope.spawn(|| {
            let mut most = 0;
            while !over.load(SeqCst) {
                most = most.max(memory());
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        assert_eq!(job(&pair, "resync('w')").count("w", "written"), 200);
        assert_eq!(job(&pair, "resync('packed')").count("packed", "written"), 100);
        drop(ends);
        most.join().expect("it was watched")
    });
    assert!(most - before < 150, "{most} MB after {before}");
    pair.assert_all_equal();
}
