//! What passes by itself is waited for: no row is set aside for it.

use super::{SCHEMA, all_equal, aside, mirroring};

#[test]
fn a_full_disk_and_a_lock_are_waited_for() {
    let pair = mirroring(SCHEMA);
    pair.on_mirror(
        "CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.n = 99 THEN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER f BEFORE INSERT OR UPDATE ON odoo_mirror.t FOR EACH ROW EXECUTE FUNCTION public.full();
         ALTER TABLE odoo_mirror.t ENABLE ALWAYS TRIGGER f, ADD CONSTRAINT not_below CHECK (n >= 0) NOT VALID",
    );
    // Beside one that is refused for good: the batch is bisected, and waits all the same.
    pair.on_source("UPDATE t SET n = 99 WHERE id = 5; INSERT INTO other VALUES (2, 'y')");
    pair.on_source("UPDATE t SET n = -1 WHERE id = 6");
    pair.wait_status("the full disk is told", |status| status["last_error"]["sqlstate"] == "53100");
    assert!(aside(&pair).is_empty());
    pair.on_mirror("DROP TRIGGER f ON odoo_mirror.t");
    super::equal_but(&pair, &["6"]);

    let mut holder = pair.mirror.connect("mirror");
    holder.batch_execute("BEGIN; LOCK TABLE odoo_mirror.t IN SHARE MODE").expect("the lock is free");
    pair.on_source("UPDATE t SET n = 6 WHERE id = 6; UPDATE t SET n = 8 WHERE id = 7");
    pair.wait_status("the lock is told", |status| status["last_error"]["sqlstate"] == "55P03");
    assert_eq!(aside(&pair), ["6"]);
    holder.batch_execute("COMMIT").expect("it is open");
    all_equal(&pair);
    assert_eq!(pair.metric("etl_records_failed_total", "{}"), 1.0);
}
