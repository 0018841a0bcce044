//! A table that somebody made inherit from a mirrored one is no mirror: its rows are nobody's
//! business.

use super::{builder, ends_equal};

#[test]
fn rows_of_a_table_that_inherits_from_a_mirrored_one_are_left_alone() {
    let pair = builder().mirroring(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 20) i;
         CREATE TABLE pair (a int, b int, v int, PRIMARY KEY (a, b)); INSERT INTO pair SELECT 1, i, i FROM generate_series(1, 20) i;
         CREATE TABLE keyless (v int); ALTER TABLE keyless REPLICA IDENTITY FULL; INSERT INTO keyless SELECT generate_series(1, 20);",
    );
    for table in ["t", "pair", "keyless"] {
        pair.on_mirror(&format!(
            "CREATE TABLE public.child_of_{table} (mine text) INHERITS (odoo_mirror.{table});
             INSERT INTO public.child_of_{table} SELECT *, 'mine' FROM ONLY odoo_mirror.{table}"
        ));
    }
    pair.on_source(
        "UPDATE t SET id = 100 WHERE id = 1; DELETE FROM t WHERE id = 2; UPDATE t SET v = -v; UPDATE pair SET b = 100 WHERE b = 1;
         DELETE FROM pair WHERE b = 2; UPDATE pair SET v = -v; DELETE FROM keyless WHERE v = 1; UPDATE keyless SET v = 100 WHERE v = 2",
    );
    pair.caught_up();
    let same = |what: &str| {
        for table in ["t", "pair", "keyless"] {
            let query = format!("SELECT count(*), sum(v) FROM public.child_of_{table}");
            let row = pair.mirror.rows("mirror", &query).remove(0);
            assert_eq!(row, [Some("20".into()), Some("210".into())], "{what}: {table}");
            let both = format!("SELECT count(*), sum(v) FROM ONLY odoo_mirror.{table}");
            let there = pair.source.rows("odoo", &format!("SELECT count(*), sum(v) FROM {table}"));
            assert_eq!(pair.mirror.rows("mirror", &both), there, "{what}: {table}");
        }
    };
    same("streamed");
    // A comparison finds nothing, and mends what differs in the table itself.
    pair.on_mirror("UPDATE ONLY odoo_mirror.t SET v = 0 WHERE id = 5; UPDATE ONLY odoo_mirror.keyless SET v = 0 WHERE v = 5");
    pair.on_mirror("SELECT odoo_mirror.resync()");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let settled = "SELECT count(*) FROM odoo_mirror.jobs() WHERE state NOT IN ('done', 'failed')";
    crate::harness::eventually("resynced", super::LIMIT, || {
        (pair.mirror_value(settled) == "0").then_some(())
    });
    pair.caught_up();
    crate::harness::eventually("ready", super::LIMIT, || {
        (pair.mirror_value("SELECT count(*) FROM odoo_mirror.tables() WHERE state <> 'ready'") == "0")
            .then_some(())
    });
    same("resynced");
    pair.on_source("TRUNCATE t, pair, keyless");
    pair.caught_up();
    let query = "SELECT (SELECT count(*) FROM public.child_of_t) + (SELECT count(*) FROM public.child_of_pair) + (SELECT count(*) FROM public.child_of_keyless)";
    assert_eq!(pair.mirror_value(query), "60");
    for table in ["t", "pair", "keyless"] {
        pair.on_mirror(&format!("ALTER TABLE public.child_of_{table} NO INHERIT odoo_mirror.{table}"));
    }
    ends_equal(&pair, "truncated");
}
