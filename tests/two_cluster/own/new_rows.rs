//! What somebody's own columns, constraints and triggers make of rows that come.

use super::{LIMIT, builder, ends_equal};
use crate::harness::eventually;

#[test]
fn new_rows_get_what_somebody_says_and_one_that_is_refused_is_set_aside() {
    let pair = builder().mirroring(
        "CREATE TABLE filled (id int PRIMARY KEY, v int); CREATE TABLE strict (id int PRIMARY KEY, v int);
         CREATE TABLE forced (id int PRIMARY KEY, v int); INSERT INTO forced VALUES (1, 1); CREATE TABLE keyless (v int);",
    );
    pair.on_mirror(
        "ALTER TABLE odoo_mirror.filled ADD mine text DEFAULT 'new', ADD seen timestamptz DEFAULT now(), ADD name text;
         CREATE FUNCTION public.name_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.name := ''row '' || new.id; RETURN new; END';
         CREATE TRIGGER name_it BEFORE INSERT ON odoo_mirror.filled FOR EACH ROW EXECUTE FUNCTION public.name_it();
         ALTER TABLE odoo_mirror.filled ENABLE ALWAYS TRIGGER name_it;
         ALTER TABLE odoo_mirror.strict ADD mine text NOT NULL; ALTER TABLE odoo_mirror.keyless ADD mine int DEFAULT 7;
         ALTER TABLE odoo_mirror.forced FORCE ROW LEVEL SECURITY",
    );
    pair.on_source(
        "INSERT INTO filled SELECT i, i FROM generate_series(1, 20) i; INSERT INTO strict VALUES (1, 1); INSERT INTO keyless VALUES (1);
         UPDATE forced SET v = 2",
    );
    pair.caught_up();
    let new = "SELECT count(*) FROM odoo_mirror.filled WHERE mine = 'new' AND seen IS NOT NULL AND name = 'row ' || id";
    assert_eq!(pair.mirror_value(new), "20");
    let aside = "SELECT count(*) FROM odoo_mirror.failures() WHERE table_name = 'strict'";
    assert_eq!(pair.mirror_value(aside), "1");
    // Whoever hides a table's rows from the mirror is told, or hides nothing from it.
    let forced = "SELECT (SELECT state FROM odoo_mirror.tables() WHERE table_name = 'forced') = 'failed' OR (SELECT v FROM odoo_mirror.forced) = 2";
    assert_eq!(pair.mirror_value(forced), "t", "{}", pair.status());
    pair.on_mirror("ALTER TABLE odoo_mirror.forced NO FORCE ROW LEVEL SECURITY");

    // A table without a key is copied anew where nothing but a constant default is lost.
    pair.on_source("ALTER TABLE keyless ALTER v TYPE int USING v + 1");
    pair.on_mirror(
        "UPDATE odoo_mirror.filled SET mine = 'kept' WHERE id = 1; SELECT odoo_mirror.resync('filled')",
    );
    pair.on_mirror(
        "ALTER TABLE odoo_mirror.strict ALTER mine SET DEFAULT 'here'; SELECT odoo_mirror.retry_failures()",
    );
    eventually("it comes back", LIMIT, || (pair.mirror_value(aside) == "0").then_some(()));
    ends_equal(&pair, "all are equal");
    assert_eq!(pair.mirror_value("SELECT mine FROM odoo_mirror.filled WHERE id = 1"), "kept");
    assert_eq!(pair.mirror_value("SELECT mine FROM odoo_mirror.strict"), "here");
    assert_eq!(pair.mirror_value("SELECT mine || ' ' || v FROM odoo_mirror.keyless"), "7 2");
}
