//! A column that a transaction adds comes before the rest of that transaction: readers of the table
//! are not locked out meanwhile.

use super::LIMIT;
use crate::harness::{Pair, eventually};
use std::time::Duration;

/// What the source does in one transaction, and the columns that readers must be able to read while
/// it is being applied.
#[allow(clippy::type_complexity)]
const TRANSACTIONS: [(&str, &str, &[(&str, &str)]); 4] = [
    (
        "the column comes first",
        "ALTER TABLE big ADD COLUMN a int; UPDATE big SET a = id; UPDATE big SET a = a + 1",
        &[("big", "a")],
    ),
    (
        "rows of it and of others come before",
        "INSERT INTO other SELECT n, n FROM generate_series(1, 4000) n; UPDATE big SET n = n + 1 WHERE id < 3000;
         ALTER TABLE big ADD COLUMN b text; UPDATE big SET b = md5(id::text)",
        &[("big", "b")],
    ),
    (
        "it has a constant default, and so has another's",
        "INSERT INTO big (id, n) SELECT n, n FROM generate_series(100001, 100010) n;
         ALTER TABLE big ADD COLUMN c int DEFAULT 7; ALTER TABLE other ADD COLUMN c text NOT NULL DEFAULT 'x';
         INSERT INTO big (id, n) SELECT n, n FROM generate_series(200001, 200010) n;
         UPDATE other SET id = id; UPDATE big SET c = id WHERE id % 2 = 0",
        &[("big", "c"), ("other", "c")],
    ),
    (
        "several come, with rows between",
        "ALTER TABLE big ADD COLUMN d int; UPDATE big SET d = 1 WHERE id < 1000; ALTER TABLE big ADD COLUMN e int;
         UPDATE big SET e = id; UPDATE big SET d = 2",
        &[("big", "d"), ("big", "e")],
    ),
];

#[test]
fn readers_read_on_while_a_transaction_that_added_columns_is_applied() {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").proxied().start();
    pair.on_source(
        "CREATE TABLE big (id int PRIMARY KEY, n int); INSERT INTO big SELECT n, n FROM generate_series(1, 8000) n;
         CREATE TABLE other (id int PRIMARY KEY, n int)",
    );
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.caught_up();
    let proxy = pair.proxy.as_ref().expect("it was asked for");
    for (what, statements, columns) in TRANSACTIONS {
        proxy.slow_down(Duration::from_millis(25));
        pair.on_source(&format!("BEGIN; {statements}; COMMIT"));
        for (table, column) in columns {
            let there = format!(
                "SELECT count(*) FROM pg_attribute WHERE attrelid = 'odoo_mirror.{table}'::regclass AND attname = '{column}'"
            );
            eventually(&format!("{what}: {table}.{column} is there"), LIMIT, || {
                (pair.mirror_value(&there) == "1").then_some(())
            });
        }
        let applying = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'odoo_mirror' AND backend_xid IS NOT NULL";
        eventually(&format!("{what}: a part is applied"), LIMIT, || {
            (pair.mirror_value(applying) == "1").then_some(())
        });
        proxy.freeze();
        for (table, column) in columns {
            // What rows get that the transaction doesn't touch, and nothing of what it does.
            let shown = pair.mirror_value(&format!(
                "SET lock_timeout = '2s'; SELECT count(DISTINCT {column}) FROM odoo_mirror.{table}"
            ));
            assert!(["0", "1"].contains(&shown.as_str()), "{what}: {table}.{column} shows {shown} values");
        }
        proxy.slow_down(Duration::ZERO);
        proxy.thaw();
        pair.assert_all_equal();
    }
    let defaults = "SELECT count(*) FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid WHERE c.relnamespace = 'odoo_mirror'::regnamespace";
    eventually("no default is left", LIMIT, || (pair.mirror_value(defaults) == "0").then_some(()));
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror_internal.columns_ahead"), "0");
    let compared = "SELECT coalesce(string_agg(done, '; '), '') FROM odoo_mirror.ddl_history() WHERE done NOT LIKE 'done here too%'";
    assert_eq!(pair.mirror_value(compared), "", "no row had to be compared");
    pair.assert_all_equal();
}
