//! Which types here stand for the source's, and what a source says of its types.

use super::{admin, assert_nobody_rose, start, supabase, wait_table};
use std::time::Duration;

const TYPE_OF: &str = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = 'v' AND attrelid = to_regclass('odoo_mirror.";

#[test]
fn a_type_is_matched_where_its_schema_and_owner_are_trusted_and_one_that_may_not_be_used_says_what_to_grant()
{
    let pair = supabase();
    pair.on_source(
        "CREATE SCHEMA extensions; CREATE DOMAIN public.email AS text; CREATE TYPE public.action AS ENUM ('go');
         CREATE TYPE public.mood AS ENUM ('ok'); CREATE TYPE extensions.color AS ENUM ('red');
         CREATE TABLE a (id int PRIMARY KEY, v public.email); INSERT INTO a VALUES (1, 'x@y');
         CREATE TABLE b (id int PRIMARY KEY, v public.action); INSERT INTO b VALUES (1, 'go');
         CREATE TABLE c (id int PRIMARY KEY, v public.mood); INSERT INTO c VALUES (1, 'ok');
         CREATE TABLE d (id int PRIMARY KEY, v extensions.color[]); INSERT INTO d VALUES (1, '{red}');
         CREATE TABLE e (id int PRIMARY KEY, v numeric(7,2)[]); INSERT INTO e VALUES (1, '{1.50}')",
    );
    admin(
        &pair,
        "CREATE ROLE tenant; CREATE SCHEMA sandbox AUTHORIZATION tenant; CREATE SCHEMA extensions; CREATE SCHEMA realtime;
         CREATE TYPE realtime.action AS ENUM ('stop'); CREATE TYPE extensions.color AS ENUM ('red');
         GRANT CREATE ON SCHEMA public TO tenant; GRANT USAGE ON SCHEMA sandbox TO PUBLIC;
         SET ROLE tenant; CREATE DOMAIN sandbox.email AS text CHECK (VALUE = 'never'); CREATE DOMAIN public.email AS text CHECK (VALUE = 'never')",
    );
    pair.on_mirror("CREATE TYPE public.mood AS ENUM ('ok')");
    pair.publish_all();
    start(&pair);
    let (reason, hint) = wait_table(&pair, "d", "failed");
    assert!(reason.contains("column v of table public.d"), "{reason}");
    assert!(hint.contains("GRANT USAGE ON SCHEMA extensions TO odoo_mirror_owner"), "{hint}");
    for (table, expected) in [("a", "text"), ("b", "text"), ("c", "mood"), ("e", "numeric(7,2)[]")] {
        wait_table(&pair, table, "ready");
        assert_eq!(pair.mirror_value(&format!("{TYPE_OF}{table}')")), expected);
    }
    admin(&pair, "GRANT USAGE ON SCHEMA extensions TO odoo_mirror_owner");
    wait_table(&pair, "d", "ready");
    assert_eq!(pair.mirror_value(&format!("{TYPE_OF}d')")), "extensions.color[]");
    pair.on_source("INSERT INTO d VALUES (2, '{red,red}')");
    pair.caught_up_within(Duration::from_secs(30));
    admin(&pair, "DO $$ BEGIN ASSERT (SELECT v[2] = 'red' FROM odoo_mirror.d WHERE id = 2); END $$");
}

#[test]
fn what_a_hostile_source_prints_as_a_types_name_is_not_run_here() {
    let pair = supabase();
    pair.on_source(
        "CREATE TABLE bait (id int PRIMARY KEY, v macaddr8); INSERT INTO bait VALUES (1, NULL);
         ALTER FUNCTION pg_catalog.format_type(oid, int4) RENAME TO format_type_real;
         CREATE FUNCTION pg_catalog.format_type(oid, int4) RETURNS text LANGUAGE sql STABLE AS $$
           SELECT CASE WHEN $1 = 'pg_catalog.macaddr8'::pg_catalog.regtype AND $2 IS NOT NULL
             THEN 'macaddr8); CREATE TABLE odoo_mirror.loot (a int); CREATE TABLE odoo_mirror.junk (id int, v macaddr8'
             ELSE pg_catalog.format_type_real($1, $2) END $$",
    );
    pair.publish_all();
    start(&pair);
    wait_table(&pair, "bait", "ready");
    assert_eq!(pair.mirror_value("SELECT count(*) FROM pg_class WHERE relname IN ('loot', 'junk')"), "0");
    assert_eq!(pair.mirror_value(&format!("{TYPE_OF}bait')")), "macaddr8");
    assert_nobody_rose(&pair);
}
