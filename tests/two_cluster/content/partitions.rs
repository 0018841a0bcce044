//! Partitioned tables, published as their partitions or as their root.

use super::{LIMIT, builder, tables};
use crate::harness::Pair;

const SCHEMA: &str = "CREATE TABLE sale (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE sale_old PARTITION OF sale FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE sale_new PARTITION OF sale FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY RANGE (id);
    CREATE TABLE sale_new_x PARTITION OF sale_new FOR VALUES FROM (MINVALUE) TO (520);
    CREATE TABLE sale_new_rest (v text, id int NOT NULL, day date NOT NULL, PRIMARY KEY (id, day));
    ALTER TABLE sale_new ATTACH PARTITION sale_new_rest DEFAULT;
    CREATE TABLE plain (id int PRIMARY KEY);
    INSERT INTO sale SELECT n, date '2020-01-01' + n, CASE WHEN n % 2 = 0 THEN 'x' ELSE 'y' END FROM generate_series(1, 700) n";

fn write(pair: &Pair) {
    for statement in [
        "INSERT INTO sale VALUES (1000, '2020-05-05', 'x'), (1001, '2021-05-05', 'x'), (1002, '2021-05-05', 'z')",
        "UPDATE sale SET v = 'z' WHERE id BETWEEN 100 AND 120",
        // From one partition to another: a delete and an insert.
        "UPDATE sale SET day = '2021-12-31' WHERE id BETWEEN 130 AND 140; UPDATE sale SET id = id + 3000 WHERE id BETWEEN 500 AND 510",
        "DELETE FROM sale WHERE id % 10 = 0; INSERT INTO plain VALUES (1)",
        "UPDATE sale_old SET v = 'direct' WHERE id = 7",
    ] {
        pair.on_source(statement);
    }
}

#[test]
fn partitions_are_mirrored_each_under_its_own_name() {
    let pair = builder().start();
    pair.on_source(SCHEMA);
    pair.publish("sale, plain");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    assert_eq!(pair.published_tables(), ["plain", "sale_new_rest", "sale_new_x", "sale_old"]);
    write(&pair);
    pair.assert_all_equal();
    pair.on_source("TRUNCATE sale; INSERT INTO sale VALUES (1, '2020-02-02', 'x')");
    pair.assert_all_equal();
}

#[test]
fn a_root_is_mirrored_as_one_table_when_the_publication_says_so() {
    let pair = builder().start();
    pair.on_source(SCHEMA);
    pair.on_source(
        "CREATE PUBLICATION odoo_pub_scout FOR TABLE sale, plain WITH (publish_via_partition_root = true)",
    );
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    assert_eq!(pair.published_tables(), ["plain", "sale"]);
    write(&pair);
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT to_regclass('odoo_mirror.sale_old')"), "");
    pair.on_source("TRUNCATE sale; INSERT INTO sale VALUES (1, '2020-02-02', 'x')");
    pair.assert_all_equal();
}

#[test]
fn a_root_is_followed_by_the_key_that_its_leaves_share_and_never_copied_for_an_update() {
    // The leaves' keys: with what rows are parted by, without it, and not all alike.
    let roots = [
        ("shared", "(region, id)", "(region, id)"),
        ("narrow", "(id)", "(id)"),
        ("mixed", "(id, region)", "(id, region, v)"),
    ];
    let pair = builder().start();
    for (root, one, other) in roots {
        pair.on_source(&format!(
            "CREATE TABLE {root} (id int NOT NULL, region int NOT NULL, v text NOT NULL) PARTITION BY LIST (region);
             CREATE TABLE {root}_1 PARTITION OF {root} FOR VALUES IN (1); ALTER TABLE {root}_1 ADD PRIMARY KEY {one};
             CREATE TABLE {root}_2 PARTITION OF {root} FOR VALUES IN (2); ALTER TABLE {root}_2 ADD PRIMARY KEY {other};
             INSERT INTO {root} SELECT n, 1 + n % 2, 'x' FROM generate_series(1, 200) n"
        ));
    }
    pair.on_source(
        "CREATE PUBLICATION odoo_pub_scout FOR TABLE shared, narrow, mixed WITH (publish_via_partition_root = true)",
    );
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let copied =
        "SELECT string_agg(table_name || ' ' || copied_rows, ', ' ORDER BY 1) FROM odoo_mirror.tables()";
    let before = pair.mirror_value(copied);
    for round in 0..20 {
        for (root, ..) in roots {
            pair.on_source(&format!(
                "UPDATE {root} SET v = 'round {round}' WHERE id = 7; INSERT INTO {root} VALUES (1000 + {round}, 1 + {round} % 2, 'new')"
            ));
        }
        pair.on_source(&format!("DELETE FROM shared WHERE id = 100 + {round}"));
    }
    pair.caught_up();
    pair.assert_equal("shared");
    for root in ["narrow", "mixed"] {
        // Its inserts follow, and it says what would let the rest.
        let count = format!("SELECT count(*) FROM odoo_mirror.{root}");
        assert_eq!(pair.mirror_value(&count), "220", "{root}");
        let hint =
            pair.mirror_value(&format!("SELECT hint FROM odoo_mirror.tables() WHERE table_name = '{root}'"));
        assert!(hint.contains("ALTER TABLE"), "{root}: {hint}");
    }
    assert_eq!(pair.mirror_value(copied), before, "nothing is copied anew");
    let states = "SELECT string_agg(DISTINCT state, ', ') FROM odoo_mirror.tables()";
    assert_eq!(pair.mirror_value(states), "ready");
}

#[test]
fn a_partition_that_is_attached_later_joins() {
    let pair = builder().start();
    pair.on_source(SCHEMA);
    pair.publish("sale");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.on_source("CREATE TABLE sale_next PARTITION OF sale FOR VALUES FROM ('2022-01-01') TO ('2023-01-01'); INSERT INTO sale VALUES (5, '2022-02-02', 'new')");
    tables::until(&pair, "sale_next", "ready");
    pair.on_source(
        "INSERT INTO sale VALUES (6, '2022-02-03', 'newer'); UPDATE sale SET v = 'x' WHERE id = 5",
    );
    pair.assert_all_equal();
}

#[test]
fn children_of_an_ordinary_table_are_tables_of_their_own() {
    let pair = builder().start();
    pair.on_source(
        "CREATE TABLE base (id int PRIMARY KEY, v text); CREATE TABLE heir (PRIMARY KEY (id), extra text) INHERITS (base);
         INSERT INTO base VALUES (1, 'base'); INSERT INTO heir VALUES (2, 'heir', 'e')",
    );
    pair.publish("ONLY base, ONLY heir");
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair.on_source("INSERT INTO base VALUES (3, 'base'); INSERT INTO heir VALUES (4, 'heir', 'e'); UPDATE base SET v = 'both'");
    pair.caught_up();
    assert_eq!(
        pair.mirror_value("SELECT string_agg(id || v, ',' ORDER BY id) FROM odoo_mirror.base"),
        "1both,3both"
    );
    assert_eq!(
        pair.mirror_value("SELECT string_agg(id || v || extra, ',' ORDER BY id) FROM odoo_mirror.heir"),
        "2bothe,4bothe"
    );
}
