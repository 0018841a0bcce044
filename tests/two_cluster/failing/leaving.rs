use super::{LIMIT, another_life, builder, fails_as};
use crate::harness::{Pair, eventually};

/// Waits until the table's hint says this, and its reason that.
#[track_caller]
fn says(pair: &Pair, table: &str, reason: &str, hint: &str) {
    let query = format!(
        "SELECT coalesce(reason, ''), coalesce(hint, '') FROM odoo_mirror.tables() WHERE table_name = '{table}' AND state = 'failed'"
    );
    let mut last = None;
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        if let Some(row) = pair.mirror.rows("mirror", &query).pop() {
            let told = (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default());
            if told.0.contains(reason) && told.1.contains(hint) {
                return;
            }
            last = Some(told);
        }
        assert!(std::time::Instant::now() < deadline, "{table}: no {reason:?} and {hint:?} in {last:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Nothing tells of the table any more.
#[track_caller]
fn is_forgotten(pair: &Pair, table: &str) {
    let told = format!(
        "SELECT (SELECT count(*) FROM odoo_mirror.tables() WHERE table_name = '{table}')
              + (SELECT count(*) FROM odoo_mirror.doctor() d WHERE d::text LIKE '%{table}%')
              + (SELECT count(*) FROM odoo_mirror.metrics() WHERE labels ->> 'table' = '{table}')
              + (SELECT count(*) FROM odoo_mirror_internal.live_tables() WHERE table_name = '{table}')
              + (SELECT count(*) FROM odoo_mirror_internal.source_comments WHERE table_name = '{table}')
              + (SELECT count(*) FROM odoo_mirror_internal.reconciles WHERE table_name = '{table}')
              + (SELECT count(*) FROM odoo_mirror_internal.ranges WHERE table_name = '{table}')
              + (SELECT count(*) FROM odoo_mirror_internal.quarantine WHERE table_name = '{table}')"
    );
    eventually(&format!("{table} is forgotten"), LIMIT, || (pair.mirror_value(&told) == "0").then_some(()));
}

#[test]
fn a_table_that_left_says_what_became_of_it_and_is_forgotten_once_it_is_gone_here_too() {
    let pair = builder().start();
    let tables = ["hr.gone", "hr.\"Left It\"", "hr.moved", "public.flat", "public.part", "public.first"];
    pair.on_source("CREATE SCHEMA hr; CREATE SCHEMA archive; CREATE TABLE root (id int PRIMARY KEY, n int) PARTITION BY RANGE (id)");
    for table in tables {
        pair.on_source(&format!("CREATE TABLE {table} (id int PRIMARY KEY, n int); COMMENT ON TABLE {table} IS 'said'; INSERT INTO {table} VALUES (1, 1)"));
    }
    pair.publish(&format!("root, {}", tables.join(", ")));
    pair.on_source("ALTER PUBLICATION odoo_pub_scout SET (publish_via_partition_root = true)");
    pair.configure_and_start();
    eventually("all are ready", LIMIT, || {
        let ready = "SELECT count(*) FROM odoo_mirror.tables() WHERE state = 'ready'";
        (pair.mirror_value(ready) == "7").then_some(())
    });
    // One that refuses rows has more noted of it.
    pair.on_mirror("ALTER TABLE odoo_mirror.hr__gone ADD CHECK (n > 0)");
    pair.on_source("INSERT INTO hr.gone VALUES (2, -2); INSERT INTO flat VALUES (2, 2)");
    eventually("it is set aside", LIMIT, || {
        (pair.mirror_value("SELECT count(*) FROM odoo_mirror.failures()") == "1").then_some(())
    });

    pair.on_mirror("DROP TABLE odoo_mirror.first");
    pair.on_source(
        "DROP TABLE hr.gone, first;
         ALTER PUBLICATION odoo_pub_scout DROP TABLE hr.\"Left It\";
         BEGIN; ALTER PUBLICATION odoo_pub_scout DROP TABLE hr.moved; ALTER TABLE hr.moved SET SCHEMA archive; COMMIT;
         BEGIN; ALTER PUBLICATION odoo_pub_scout DROP TABLE flat; ALTER TABLE flat SET UNLOGGED; COMMIT;
         ALTER TABLE root ATTACH PARTITION part FOR VALUES FROM (0) TO (100)",
    );
    says(&pair, "hr__gone", "dropped", "DROP TABLE odoo_mirror.hr__gone;");
    says(&pair, "hr__Left It", "no longer publishes", r#"ADD TABLE "hr"."Left It";"#);
    says(&pair, "hr__moved", "archive.moved", "ADD TABLE archive.moved;");
    says(&pair, "flat", "unlogged", "ALTER TABLE public.flat SET LOGGED;");
    says(&pair, "part", "is a partition of", "root");
    is_forgotten(&pair, "first");
    // What is true of it later is said later.
    pair.on_source("DROP TABLE hr.\"Left It\"");
    says(&pair, "hr__Left It", "dropped", "DROP TABLE odoo_mirror.\"hr__Left It\";");
    another_life(&pair);
    says(&pair, "flat", "unlogged", "SET LOGGED");

    pair.on_mirror("DROP TABLE odoo_mirror.hr__gone, odoo_mirror.\"hr__Left It\", odoo_mirror.flat");
    for table in ["hr__gone", "hr__Left It", "flat"] {
        is_forgotten(&pair, table);
    }
    // It comes back as if it had never been here.
    pair.on_source("ALTER TABLE flat SET LOGGED; ALTER PUBLICATION odoo_pub_scout ADD TABLE flat");
    pair.wait_table("flat", "ready");
    pair.on_source("INSERT INTO flat VALUES (3, 3)");
    pair.caught_up();
    pair.assert_equal("flat");
    assert_eq!(pair.mirror_value("SELECT inserted FROM odoo_mirror.tables() WHERE table_name = 'flat'"), "1");
    fails_as(&pair, "part", "not_published");
}
