//! Rows that the worker writes itself, below SQL: what it opens it closes, and it writes only into
//! tables of its own kind.

use crate::harness::Pair;

/// What fires on a table here, and when.
const TRIGGERS: [(&str, &str); 5] = [
    ("after_row", "CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON odoo_mirror.after_row FOR EACH ROW"),
    (
        "before_row",
        "CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON odoo_mirror.before_row FOR EACH ROW",
    ),
    (
        "statement",
        "CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON odoo_mirror.statement FOR EACH STATEMENT",
    ),
    (
        "transition",
        "CREATE TRIGGER a AFTER INSERT ON odoo_mirror.transition REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT",
    ),
    (
        "deferred",
        "CREATE CONSTRAINT TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON odoo_mirror.deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
    ),
];

/// Warnings in the server's log fail the test when the cluster is dropped.
#[test]
fn triggers_of_any_kind_leave_nothing_open_and_the_table_can_be_altered_in_the_same_transaction() {
    let tables: Vec<String> = TRIGGERS
        .iter()
        .map(|(table, _)| {
            format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, n int); INSERT INTO {table} VALUES (1, 1), (2, 2);"
            )
        })
        .collect();
    let pair = Pair::mirroring(&tables.concat());
    pair.on_mirror(
        "CREATE TABLE public.fired (tab name, operation text);
         GRANT ALL ON public.fired TO odoo_mirror_owner;
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.fired VALUES (TG_TABLE_NAME, TG_OP);
             IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$",
    );
    for (table, trigger) in TRIGGERS {
        pair.on_mirror(&format!(
            "{trigger} EXECUTE FUNCTION public.note(); ALTER TABLE odoo_mirror.{table} ENABLE ALWAYS TRIGGER a"
        ));
    }
    let worker = pair.worker_pid();
    for (table, _) in TRIGGERS {
        pair.on_source(&format!(
            "INSERT INTO {table} SELECT g, g FROM generate_series(10, 30) g; UPDATE {table} SET n = 0 WHERE id < 12; DELETE FROM {table} WHERE id = 2"
        ));
        pair.caught_up();
        pair.on_source(&format!(
            "BEGIN; INSERT INTO {table} SELECT g, g FROM generate_series(40, 50) g; UPDATE {table} SET n = 7 WHERE id < 12;
             ALTER TABLE {table} ADD COLUMN added int DEFAULT 3; INSERT INTO {table} SELECT g, g, g FROM generate_series(60, 70) g;
             UPDATE {table} SET added = n; DELETE FROM {table} WHERE id = 41; COMMIT"
        ));
        pair.caught_up();
        let fired = format!("SELECT count(*) > 0 FROM public.fired WHERE tab = '{table}'");
        assert_eq!(pair.mirror_value(&fired), "t", "{table}");
    }
    pair.assert_all_equal();
    assert_eq!(pair.worker_pid(), worker, "it was not restarted");
    assert_eq!(pair.mirror.left_open(), Vec::<String>::new());
}

/// How many bytes of WAL `rows` new rows of a table without a key take here: a record for many, or
/// one for each.
fn wal_of_inserts(pair: &Pair, rows: u32) -> u64 {
    pair.caught_up();
    let before = pair.mirror_value("SELECT pg_current_wal_insert_lsn()");
    pair.on_source(&format!("INSERT INTO plain SELECT g FROM generate_series(1, {rows}) g"));
    pair.caught_up();
    pair.mirror_value(&format!("SELECT pg_current_wal_insert_lsn() - '{before}'"))
        .parse()
        .expect("a number of bytes")
}

#[test]
fn tables_are_heaps_whatever_the_default_is_and_nothing_of_heap_goes_into_one_that_is_none() {
    let pair = Pair::start();
    // Heap's twin under another name: the server takes it for a method of its own.
    pair.on_mirror("CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler");
    pair.on_mirror("ALTER DATABASE mirror SET default_table_access_method = other");
    pair.mirror.restart();
    pair.on_source(
        "CREATE TABLE k (id int PRIMARY KEY, n int); INSERT INTO k VALUES (1, 1); CREATE TABLE plain (n int)",
    );
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(std::time::Duration::from_secs(60));
    let methods = "SELECT string_agg(c.relname || ' ' || a.amname, ', ' ORDER BY 1) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
                   WHERE c.relnamespace = 'odoo_mirror'::regnamespace AND c.relkind = 'r'";
    assert_eq!(pair.mirror_value(methods), "k heap, plain heap");

    const ROWS: u32 = 5_000;
    let together = wal_of_inserts(&pair, ROWS);
    pair.on_mirror("ALTER TABLE odoo_mirror.k SET ACCESS METHOD other; ALTER TABLE odoo_mirror.plain SET ACCESS METHOD other");
    let one_by_one = wal_of_inserts(&pair, ROWS);
    assert!(one_by_one > 2 * together, "{one_by_one} bytes of WAL where a heap takes {together}");
    pair.on_source(
        "INSERT INTO k SELECT g, g FROM generate_series(10, 500) g; UPDATE k SET n = -n WHERE id % 2 = 0; DELETE FROM k WHERE id % 7 = 0",
    );
    pair.assert_all_equal();
}
