use super::{LIMIT, another_life, builder, fails_again, fails_as, failure_of};

/// More rows below zero than are set aside one by one.
const MANY: &str = "INSERT INTO {t} (id, n) SELECT g, -g FROM generate_series(101, 350) g";

const TABLES: [&str; 6] = ["again", "killed", "keyless", "viewed", "left_it", "altered"];

#[test]
fn a_failed_table_goes_on_by_itself_when_the_cause_is_gone_whatever_failed_in_between() {
    let pair = builder().start();
    for table in TABLES {
        let key = if table == "keyless" { "" } else { "PRIMARY KEY" };
        pair.on_source(&format!("CREATE TABLE {table} (id int {key}, n int, a text DEFAULT 'x'); ALTER TABLE {table} REPLICA IDENTITY FULL; INSERT INTO {table} (id, n) SELECT g, g FROM generate_series(1, 20) g"));
    }
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let refusing = ["again", "killed", "keyless", "viewed", "left_it"];
    for table in refusing {
        pair.on_mirror(&format!("ALTER TABLE odoo_mirror.{table} ADD CONSTRAINT not_below CHECK (n >= 0)"));
        pair.on_source(&MANY.replace("{t}", table));
    }
    for table in refusing {
        fails_as(&pair, table, "refused");
    }

    // Asked for again, and refused again.
    fails_again(&pair, "resync('again')");
    pair.on_mirror("SELECT odoo_mirror.retry_failures('again')");
    fails_again(&pair, "resync('keyless')");
    // Another failure on top, whose cause goes first.
    pair.on_mirror("CREATE VIEW public.in_the_way AS SELECT a FROM odoo_mirror.viewed");
    pair.on_source("ALTER TABLE viewed ALTER a DROP DEFAULT, ALTER a TYPE int USING 7");
    fails_as(&pair, "viewed", "in_the_way");
    fails_again(&pair, "resync('viewed')");
    assert_eq!(failure_of(&pair, "viewed"), "in_the_way");
    // It leaves the publication as a failed one, and comes back.
    pair.on_source("ALTER PUBLICATION odoo_pub_scout DROP TABLE left_it");
    fails_as(&pair, "left_it", "not_published");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLE left_it");
    fails_as(&pair, "left_it", "refused");
    // The worker ends, and what was refused is refused again.
    another_life(&pair);
    // Somebody's hands.
    pair.on_mirror("ALTER TABLE odoo_mirror.altered DROP COLUMN n");
    pair.on_source("UPDATE altered SET n = n + 1");
    fails_as(&pair, "altered", "altered");

    pair.on_mirror("DROP VIEW public.in_the_way");
    fails_as(&pair, "viewed", "refused");
    for table in refusing {
        fails_as(&pair, table, "refused");
        pair.on_mirror(&format!("ALTER TABLE odoo_mirror.{table} DROP CONSTRAINT not_below"));
    }
    pair.on_mirror("ALTER TABLE odoo_mirror.altered ADD COLUMN n int");
    for table in TABLES {
        pair.wait_table(table, "ready");
        assert_eq!(failure_of(&pair, table), "");
    }
    pair.assert_all_equal();
}
