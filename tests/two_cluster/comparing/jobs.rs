//! Jobs that ask for the same table: what was found is told by each.

use super::{ended, job};
use crate::harness::Pair;

const SCHEMA: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'v' FROM generate_series(1, 300) n;
    CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u SELECT generate_series(1, 10);
    CREATE TABLE k (v text); INSERT INTO k VALUES ('a'), ('b')";

#[test]
fn a_job_that_another_took_over_says_which_and_has_what_that_one_found() {
    let pair = Pair::mirroring(SCHEMA);
    // Each call, and the tables that it asks for.
    let calls = [
        ("verify('t')", "t"),
        ("resync('t')", "t"),
        ("verify('t', repair => true)", "t"),
        ("verify()", "t u k"),
        ("resync()", "t u k"),
    ];
    for (first, first_asks) in calls {
        for (second, second_asks) in calls {
            pair.on_mirror("UPDATE odoo_mirror.t SET v = 'wrong' WHERE id = 7");
            let ids =
                pair.mirror_value(&format!("SELECT odoo_mirror.{first} || ' ' || odoo_mirror.{second}"));
            let (first_id, second_id) = ids.split_once(' ').expect("two jobs");
            let jobs = [ended(&pair, first_id), ended(&pair, second_id)];
            for (told, asks) in jobs.iter().zip([first_asks, second_asks]) {
                assert_eq!(told.state, "done", "{first}, {second}: {jobs:?}");
                assert_eq!(told.keys("t"), [r#"["7"]"#], "{first}, {second}: {jobs:?}");
                let mut tables: Vec<&str> =
                    told.result.as_object().expect("an object").keys().map(String::as_str).collect();
                tables.sort_unstable_by_key(|table| asks.find(*table));
                assert_eq!(tables.join(" "), asks, "{first}, {second}: {jobs:?}");
            }
            let taken = &jobs[0].result["t"]["taken_over_by"];
            assert_eq!(taken.to_string(), second_id, "{first}, {second}: {jobs:?}");
            assert!(jobs[1].result["t"]["taken_over_by"].is_null(), "{first}, {second}: {jobs:?}");
            if pair.mirror_value("SELECT count(*) FROM odoo_mirror.t WHERE v = 'wrong'") != "0" {
                job(&pair, "verify('t', repair => true)");
            }
        }
    }
    pair.assert_all_equal();
}

#[test]
fn a_job_on_a_table_that_is_mirrored_no_longer_fails_and_says_so() {
    let pair = Pair::mirroring(SCHEMA);
    pair.on_mirror("SELECT odoo_mirror.stop()");
    let id = pair.mirror_value("SELECT odoo_mirror.verify('u')");
    pair.on_source("DROP TABLE u");
    pair.on_mirror("DROP TABLE odoo_mirror.u; SELECT odoo_mirror.start()");
    let told = ended(&pair, &id);
    assert_eq!(told.state, "failed", "{told:?}");
    assert!(told.error.contains("u: "), "{told:?}");
}
