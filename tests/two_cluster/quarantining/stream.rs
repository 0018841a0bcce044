//! What the stream brings and the destination refuses.

use super::{SCHEMA, all_equal, begin, builder, equal_but, mirroring, refuse, state_of};

#[test]
fn a_refused_row_costs_that_row_alone_and_is_told_everywhere() {
    let pair = mirroring(SCHEMA);
    refuse(&pair);
    pair.on_source("INSERT INTO t SELECT g, CASE g WHEN 444 THEN -1 ELSE g END, 'many', 'b' FROM generate_series(101, 900) g; INSERT INTO other VALUES (2, 'y')");
    equal_but(&pair, &["444"]);
    assert_eq!(state_of(&pair, "t"), "ready");
    let told = pair.mirror.rows("mirror", "SELECT table_name, operation, sqlstate, error, lsn IS NOT NULL, committed_at IS NOT NULL, attempts > 0, next_retry_at > failed_at, key::text FROM odoo_mirror.failures()").remove(0);
    let told: Vec<&str> = told.iter().map(|text| text.as_deref().unwrap_or_default()).collect();
    assert_eq!(told[..3], ["t", "insert", "23514"]);
    assert!(told[3].contains("not_below"), "{told:?}");
    assert_eq!(told[4..], ["t", "t", "t", "t", r#"{"id": "444"}"#]);
    assert_eq!(pair.metric("etl_records_failed_total", r#"{"table": "t"}"#), 1.0);
    assert_eq!(pair.metric("etl_quarantined_rows", r#"{"table": "t"}"#), 1.0);
    assert_eq!(pair.metric("etl_changes_total", r#"{"table": "t", "term": "quarantined"}"#), 1.0);
    assert_eq!(pair.metric("etl_state", r#"{"state": "degraded"}"#), 1.0);
    assert_eq!(pair.metric("etl_up", "{}"), 1.0);
    let doctor = pair
        .mirror_value("SELECT hint FROM odoo_mirror.doctor() WHERE \"check\" = 'refused rows' AND NOT ok");
    assert!(doctor.contains("retry_failures"), "{doctor}");
    // A good later version clears it, in the commit that brings it.
    pair.on_source("UPDATE t SET n = 5 WHERE id = 444");
    all_equal(&pair);
    // It is counted still.
    assert_eq!(pair.metric("etl_records_failed_total", r#"{"table": "t"}"#), 1.0);
}

#[test]
fn rows_refused_in_a_transaction_of_thousands_that_comes_in_parts_are_found() {
    let pair = builder().mirror_conf("odoo_mirror.batch_size", "500").start();
    begin(&pair, SCHEMA);
    refuse(&pair);
    pair.on_source("INSERT INTO t SELECT g, CASE WHEN g IN (2000, 3333, 4999) THEN -g ELSE g END, 'many', 'b' FROM generate_series(1001, 6000) g; INSERT INTO other VALUES (2, 'y')");
    equal_but(&pair, &["2000", "3333", "4999"]);
    let stamped =
        pair.mirror_value("SELECT count(DISTINCT lsn) FROM odoo_mirror.failures() WHERE lsn IS NOT NULL");
    assert_eq!(stamped, "1", "one transaction brought them");
    pair.on_source("UPDATE t SET n = -n WHERE n < 0");
    all_equal(&pair);
}

#[test]
fn triggers_that_refuse_before_after_and_without_a_word_cost_their_rows_alone() {
    let pair = mirroring(SCHEMA);
    pair.on_mirror(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF TG_OP <> 'DELETE' AND NEW.a = 'loud ' || TG_WHEN THEN RAISE EXCEPTION 'not this one'; END IF;
             IF TG_OP = 'DELETE' AND OLD.a = 'stays' THEN RAISE EXCEPTION 'not this one'; END IF;
             IF TG_OP <> 'DELETE' AND TG_WHEN = 'BEFORE' AND NEW.a = 'silent' THEN RETURN NULL; END IF;
             RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END $$;
         CREATE TRIGGER b BEFORE INSERT OR UPDATE OR DELETE ON odoo_mirror.t FOR EACH ROW EXECUTE FUNCTION public.refuse();
         CREATE TRIGGER a AFTER INSERT OR UPDATE ON odoo_mirror.t FOR EACH ROW EXECUTE FUNCTION public.refuse();
         CREATE CONSTRAINT TRIGGER c AFTER INSERT OR UPDATE ON odoo_mirror.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.a = 'late') EXECUTE FUNCTION public.refuse();
         ALTER TABLE odoo_mirror.t ENABLE ALWAYS TRIGGER a, ENABLE ALWAYS TRIGGER b, ENABLE ALWAYS TRIGGER c",
    );
    pair.on_source("INSERT INTO t SELECT g, g, CASE g WHEN 150 THEN 'loud BEFORE' WHEN 222 THEN 'loud AFTER' WHEN 300 THEN 'silent' ELSE 'x' END, 'b' FROM generate_series(101, 300) g");
    equal_but(&pair, &["150", "222", "300"]);
    pair.on_source(
        "UPDATE t SET a = 'loud BEFORE' WHERE id = 1; UPDATE t SET a = 'stays' WHERE id IN (2, 3)",
    );
    pair.caught_up();
    pair.on_source("DELETE FROM t WHERE id IN (2, 222, 250)");
    equal_but(&pair, &["1", "2", "150", "300"]);
    assert_eq!(pair.mirror_value("SELECT a FROM odoo_mirror.t WHERE id = 1"), "x", "as it was");
    assert_eq!(
        pair.mirror_value("SELECT operation FROM odoo_mirror.failures() WHERE key ->> 'id' = '2'"),
        "delete"
    );
    // Deleted, and here still, then made again.
    pair.on_source(
        "INSERT INTO t VALUES (2, 2, 'again', 'b'); UPDATE t SET a = 'fine' WHERE id IN (1, 150, 300)",
    );
    all_equal(&pair);
}

#[test]
fn a_constraint_checked_at_the_commit_costs_its_rows_alone() {
    let pair = mirroring(SCHEMA);
    pair.on_mirror(
        "CREATE FUNCTION public.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n < 0 THEN RAISE EXCEPTION 'late'; END IF; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON odoo_mirror.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.late();
         ALTER TABLE odoo_mirror.t ENABLE ALWAYS TRIGGER late",
    );
    pair.on_source("UPDATE t SET n = CASE id WHEN 7 THEN -7 ELSE 1000 + n END");
    equal_but(&pair, &["7"]);
    pair.on_source("UPDATE t SET n = 7");
    all_equal(&pair);
}

#[test]
fn a_row_that_goes_or_is_emptied_away_is_set_aside_no_longer() {
    let pair = mirroring(SCHEMA);
    refuse(&pair);
    pair.on_source(
        "UPDATE t SET n = -1 WHERE id = 3; INSERT INTO t VALUES (50, -1, 'new', 'b'), (51, -1, 'new', 'b')",
    );
    equal_but(&pair, &["3", "50", "51"]);
    pair.on_source("DELETE FROM t WHERE id IN (3, 50)");
    equal_but(&pair, &["51"]);
    assert_eq!(pair.metric("etl_changes_total", r#"{"table": "t", "term": "missing"}"#), 0.0);
    pair.on_source("TRUNCATE t; INSERT INTO t VALUES (1, 1, 'after', 'b')");
    all_equal(&pair);
}

#[test]
fn a_unique_index_of_a_users_refuses_the_second_row_until_the_first_gives_way() {
    let pair = mirroring(SCHEMA);
    pair.on_mirror("CREATE UNIQUE INDEX once ON odoo_mirror.t (n)");
    pair.on_source("INSERT INTO t VALUES (30, 7, 'second', 'b'), (31, 31, 'free', 'b')");
    equal_but(&pair, &["30"]);
    pair.on_source("UPDATE t SET n = 77 WHERE id = 7");
    pair.mirror_value("SELECT odoo_mirror.retry_failures()");
    all_equal(&pair);
}

#[test]
fn a_column_of_a_users_own_whose_expression_fails_refuses_rows_like_a_constraint() {
    let pair = mirroring(SCHEMA);
    pair.on_mirror(
        "ALTER TABLE odoo_mirror.t ADD COLUMN mine int GENERATED ALWAYS AS (100 / (n + 13)) STORED",
    );
    pair.on_source(
        "UPDATE t SET n = -13 WHERE id = 5; INSERT INTO t VALUES (60, -13, 'y', 'b'), (61, 1, 'y', 'b')",
    );
    equal_but(&pair, &["5", "60"]);
    assert_eq!(
        pair.mirror_value("SELECT string_agg(DISTINCT sqlstate, ',') FROM odoo_mirror.failures()"),
        "22012"
    );
    pair.on_source("UPDATE t SET n = 14 WHERE n = -13");
    all_equal(&pair);
}
