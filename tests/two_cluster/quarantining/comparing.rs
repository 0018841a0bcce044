//! Comparing with the source, and copying from it, meet refused rows too.

use super::{
    LIMIT, SCHEMA, all_equal, allow, begin, builder, differing, equal_but, mirroring, refuse, state_of,
};
use crate::harness::{Pair, eventually};
use serde_json::Value;

/// Calls a function that returns a job, and waits for its result.
#[track_caller]
fn job(pair: &Pair, call: &str) -> Value {
    let id = pair.mirror_value(&format!("SELECT odoo_mirror.{call}"));
    let query =
        format!("SELECT state, coalesce(result, '{{}}'), error FROM odoo_mirror.jobs() WHERE id = {id}");
    eventually(&format!("{call} ends"), LIMIT, || {
        let row = pair.mirror.rows("mirror", &query).pop()?;
        assert_ne!(row[0].as_deref(), Some("failed"), "{row:?}");
        (row[0].as_deref() == Some("done"))
            .then(|| serde_json::from_str(row[1].as_deref().unwrap_or_default()).expect("a document"))
    })
}

#[test]
fn verify_tells_a_refused_row_as_a_difference_and_repairs_the_others() {
    let pair = mirroring(SCHEMA);
    refuse(&pair);
    pair.on_source("UPDATE t SET n = -1 WHERE id = 3");
    equal_but(&pair, &["3"]);
    let told = job(&pair, "verify('t')");
    assert_eq!(told["t"]["different"], 1, "{told}");
    assert_eq!(told["t"]["quarantined"], 1, "{told}");
    assert_eq!(told["t"]["found"][0]["quarantined"], true, "{told}");
    // One more differs, which can be mended, and one that somebody broke here is refused.
    pair.on_mirror("UPDATE odoo_mirror.t SET a = 'broken' WHERE id = 8");
    let told = job(&pair, "verify('t', repair => true)");
    assert_eq!(
        (&told["t"]["different"], &told["t"]["written"]),
        (&Value::from(2), &Value::from(1)),
        "{told}"
    );
    equal_but(&pair, &["3"]);
    assert_eq!(
        pair.mirror_value("SELECT verified_lsn IS NULL FROM odoo_mirror.tables() WHERE table_name = 't'"),
        "t"
    );
    allow(&pair);
    let told = job(&pair, "verify('t', repair => true)");
    assert!(told["t"]["different"] == 0 || told["t"]["written"] == told["t"]["different"], "{told}");
    all_equal(&pair);
}

#[test]
fn a_resync_sets_aside_what_is_refused_and_goes_on() {
    let pair = mirroring(SCHEMA);
    pair.on_mirror("DELETE FROM odoo_mirror.t");
    pair.on_mirror("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it stays'; END $$;
        INSERT INTO odoo_mirror.t VALUES (900, 0, 'not at the source');
        CREATE TRIGGER d BEFORE DELETE ON odoo_mirror.t FOR EACH ROW WHEN (OLD.id = 900) EXECUTE FUNCTION public.refuse();
        ALTER TABLE odoo_mirror.t ENABLE ALWAYS TRIGGER d, ADD CONSTRAINT few CHECK (n NOT IN (4, 11, 12)) NOT VALID");
    job(&pair, "resync('t')");
    equal_but(&pair, &["4", "11", "12", "900"]);
    assert_eq!(state_of(&pair, "t"), "ready");
    pair.on_mirror("ALTER TABLE odoo_mirror.t DROP CONSTRAINT few; DROP TRIGGER d ON odoo_mirror.t");
    all_equal(&pair);
}

#[test]
fn a_first_copy_that_meets_a_refused_row_is_compared_row_by_row_instead() {
    let pair = mirroring(SCHEMA);
    pair.on_mirror("SELECT odoo_mirror.uninstall()");
    refuse(&pair);
    pair.on_source(
        "UPDATE t SET n = -1 WHERE id = 3; INSERT INTO t VALUES (50, -1, 'new', 'b'), (51, 1, 'new', 'b')",
    );
    pair.on_mirror("SELECT odoo_mirror.start()");
    pair.wait_ready(LIMIT);
    equal_but(&pair, &["3", "50"]);
    pair.on_source("UPDATE t SET n = 1 WHERE id IN (3, 50)");
    all_equal(&pair);
}

#[test]
fn a_table_that_joins_later_with_refused_rows_has_all_the_others() {
    let pair = builder().start();
    begin(&pair, SCHEMA);
    // Whatever is made from here on refuses what the trigger refuses.
    pair.on_mirror("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n = 7 THEN RAISE EXCEPTION 'no seven'; END IF; RETURN NEW; END $$");
    pair.on_source("CREATE TABLE late (id int PRIMARY KEY, n int); INSERT INTO late SELECT g, g FROM generate_series(1, 20) g; ALTER PUBLICATION odoo_pub_scout ADD TABLE late");
    pair.wait_table("late", "ready");
    pair.on_mirror("CREATE TRIGGER r BEFORE INSERT OR UPDATE ON odoo_mirror.late FOR EACH ROW EXECUTE FUNCTION public.refuse(); ALTER TABLE odoo_mirror.late ENABLE ALWAYS TRIGGER r");
    // While it is compared the stream brings one, too.
    pair.mirror_value("SELECT odoo_mirror.resync('late')");
    pair.on_source("INSERT INTO late VALUES (30, 7), (31, 8); UPDATE late SET n = 7 WHERE id = 9");
    pair.caught_up();
    eventually("two are set aside", LIMIT, || {
        let keys =
            "SELECT string_agg(key ->> 'id', ',' ORDER BY (key ->> 'id')::int) FROM odoo_mirror.failures()";
        (pair.mirror.rows("mirror", keys)[0][0].as_deref() == Some("9,30")).then_some(())
    });
    pair.wait_table("late", "ready");
    assert!(differing(&pair).is_empty());
    pair.on_source("UPDATE late SET n = 1 WHERE n = 7 AND id > 8");
    eventually("none is", LIMIT, || super::aside(&pair).is_empty().then_some(()));
    pair.assert_all_equal();
}
