//! wait_for(): true only when a reader sees all that happened, in every table that says `ready`.

use crate::harness::{Pair, eventually};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_position_is_shown_only_when_what_the_source_did_to_its_tables_is_too() {
    // No look comes by itself.
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "3600").mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT g, g FROM generate_series(1, 5000) g;
         CREATE TABLE calm (id int PRIMARY KEY)",
    );
    pair.caught_up();
    let steps = [
        "ALTER TABLE t ALTER v TYPE int USING v + 1",
        "ALTER TABLE t ADD w double precision DEFAULT random()",
        "UPDATE t SET v = 0 WHERE id < 10",
        "ALTER TABLE t ALTER v TYPE bigint USING v + 1",
        "VACUUM FULL t",
        "ALTER PUBLICATION odoo_pub_scout SET (publish = 'insert')",
        "TRUNCATE t",
        "ALTER PUBLICATION odoo_pub_scout SET (publish = 'insert, update, delete, truncate')",
        "ALTER TABLE t DROP COLUMN w",
        "ALTER TABLE t RENAME v TO x",
    ];
    for step in steps {
        pair.on_source(step);
        let lsn = pair.source_value("SELECT pg_current_wal_insert_lsn()");
        let shown = pair.mirror_value(&format!("SELECT odoo_mirror.wait_for('{lsn}', '20 s')"));
        assert_eq!(shown, "t", "{step}\n{}", pair.status());
        if pair.mirror_value("SELECT state FROM odoo_mirror.tables() WHERE table_name = 't'") == "ready" {
            pair.assert_equal("t");
        }
    }
    eventually("it is ready", LIMIT, || {
        let state = pair.mirror_value("SELECT state FROM odoo_mirror.tables() WHERE table_name = 't'");
        (state == "ready").then_some(())
    });
    pair.assert_equal("t");
    // Where nothing was done to a table it doesn't take long, however often.
    let began = Instant::now();
    for id in 0..20 {
        pair.on_source(&format!("INSERT INTO calm VALUES ({id})"));
        pair.caught_up();
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    pair.assert_equal("calm");
}
