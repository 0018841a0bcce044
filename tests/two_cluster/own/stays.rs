//! Ways in which a mirrored table is made anew, and what of somebody's must be as it was after
//! each.

use super::{LIMIT, builder, ends_equal};
use crate::harness::{Pair, eventually};

/// Somebody's own things on `odoo_mirror.t`, one of each kind.
const OWN: &str = "
    ALTER TABLE odoo_mirror.t ADD mine text, ADD flag bool NOT NULL DEFAULT false, ADD counter serial,
        ADD doubled text GENERATED ALWAYS AS (mine || mine) STORED, ADD \"V\" int;
    UPDATE odoo_mirror.t SET mine = 'note ' || id, flag = true, \"V\" = id WHERE id <= 3;
    CREATE INDEX own_plain ON odoo_mirror.t (v); CREATE UNIQUE INDEX own_unique ON odoo_mirror.t (id, mine);
    CREATE INDEX own_expression ON odoo_mirror.t (lower(w)); CREATE INDEX own_partial ON odoo_mirror.t (w, v) WHERE flag;
    ALTER TABLE odoo_mirror.t ADD CONSTRAINT own_check CHECK (mine <> 'never' AND w <> 'never'),
        ADD CONSTRAINT own_key UNIQUE (id, w), ADD CONSTRAINT own_exclusion EXCLUDE USING btree (id WITH =),
        ALTER w SET NOT NULL, ALTER v SET STATISTICS 7, SET (autovacuum_enabled = off), CLUSTER ON t_pkey,
        REPLICA IDENTITY USING INDEX t_pkey;
    CREATE TABLE public.others (id int PRIMARY KEY, label text); INSERT INTO public.others VALUES (1, 'one');
    ALTER TABLE odoo_mirror.t ADD ref int REFERENCES public.others; UPDATE odoo_mirror.t SET ref = 1 WHERE id = 2;
    CREATE STATISTICS public.own_statistics ON v, w FROM odoo_mirror.t;
    CREATE FUNCTION public.own_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER own_trigger AFTER UPDATE ON odoo_mirror.t FOR EACH ROW EXECUTE FUNCTION public.own_trigger();
    CREATE ROLE dashboard; CREATE POLICY own_policy ON odoo_mirror.t FOR SELECT TO dashboard USING (mine IS NOT NULL);
    GRANT SELECT ON odoo_mirror.t TO dashboard; GRANT SELECT (v) ON odoo_mirror.t TO dashboard;
    COMMENT ON COLUMN odoo_mirror.t.v IS 'somebody says'; COMMENT ON COLUMN odoo_mirror.t.mine IS 'somebody says';
    CREATE VIEW public.report AS SELECT id, mine, doubled FROM odoo_mirror.t;
    CREATE FUNCTION public.told() RETURNS SETOF text LANGUAGE sql BEGIN ATOMIC SELECT mine FROM odoo_mirror.t; END;";

/// All of it, as the catalog tells it and as the rows hold it.
const TOLD: &str = "
    SELECT string_agg(told, E'\\n' ORDER BY told) FROM (
        SELECT attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || coalesce(pg_get_expr(adbin, adrelid), '')
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = 'odoo_mirror.t'::regclass AND attnum > 0 AND NOT attisdropped
          AND attname IN ('mine', 'flag', 'counter', 'doubled', 'V', 'ref')
        UNION ALL SELECT concat_ws(' ', attname, attacl, coalesce(attstattarget, -1), attnotnull, col_description(attrelid, attnum))
        FROM pg_attribute WHERE attrelid = 'odoo_mirror.t'::regclass AND attnum > 0 AND NOT attisdropped AND attname IN ('v', 'w')
        UNION ALL SELECT concat_ws(' ', reloptions, relacl, relreplident) FROM pg_class WHERE oid = 'odoo_mirror.t'::regclass
        UNION ALL SELECT pg_get_indexdef(indexrelid) || indisclustered || indisreplident FROM pg_index
        WHERE indrelid = 'odoo_mirror.t'::regclass
        UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid = 'odoo_mirror.t'::regclass AND contype <> 'n'
        UNION ALL SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = 'odoo_mirror.t'::regclass
        UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'odoo_mirror.t'::regclass AND NOT tgisinternal
        UNION ALL SELECT polname || pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'odoo_mirror.t'::regclass
        UNION ALL SELECT col_description('odoo_mirror.t'::regclass, (
            SELECT attnum FROM pg_attribute WHERE attrelid = 'odoo_mirror.t'::regclass AND attname = 'mine'))
        UNION ALL SELECT 'report ' || count(*) || ' told ' || (SELECT count(*) FROM public.told()) FROM public.report
        UNION ALL SELECT concat_ws(' ', id, mine, flag, counter, doubled, \"V\", ref) FROM odoo_mirror.t WHERE id <= 3
    ) all_of_it (told)";

const TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v int, w varchar(50) DEFAULT 'w' NOT NULL, gone text, also text);
    INSERT INTO t SELECT i, i, 'w' || i, 'x' FROM generate_series(1, 500) i; CREATE TABLE u (id int PRIMARY KEY);";

#[track_caller]
fn started(own: &str) -> Pair {
    let pair = builder().mirroring(TABLE);
    pair.on_mirror(own);
    pair
}

/// Runs each way, on the source or here, and asks that what was told before is told after it.
#[track_caller]
fn stays(pair: &Pair, ways: &[(&str, &dyn Fn())]) {
    let before = pair.mirror_value(TOLD);
    for (what, way) in ways {
        way();
        ends_equal(pair, what);
        assert_eq!(pair.mirror_value(TOLD), before, "{what}");
    }
}

#[track_caller]
fn job(pair: &Pair, call: &str) {
    let job = pair.mirror_value(&format!("SELECT {call}"));
    eventually(call, LIMIT, || {
        let state = format!("SELECT state FROM odoo_mirror.jobs() WHERE id::text = '{job}'");
        let state = pair.mirror_value(&state);
        assert_ne!(state, "failed", "{call}");
        (state == "done").then_some(())
    });
}

#[test]
fn what_somebody_added_outlives_whatever_the_source_does_to_the_table() {
    let pair = started(OWN);
    let on_source = |statements: &'static str| {
        let pair = &pair;
        move || pair.on_source(statements)
    };
    stays(
        &pair,
        &[
            ("a rewrite", &on_source("ALTER TABLE t ALTER also TYPE text USING coalesce(also, '') || v")),
            (
                "names are exchanged by way of somebody's",
                &on_source(
                    "BEGIN; ALTER TABLE t RENAME gone TO mine; ALTER TABLE t RENAME also TO gone; ALTER TABLE t RENAME mine TO also;
                     UPDATE t SET gone = 'x' WHERE id = 3; COMMIT",
                ),
            ),
            ("another file", &on_source("VACUUM FULL t")),
            (
                "columns come and go",
                &on_source(
                    "ALTER TABLE t ADD added int DEFAULT 5; UPDATE t SET added = 6 WHERE id = 3; ALTER TABLE t DROP gone",
                ),
            ),
            (
                "names change",
                &on_source("ALTER TABLE t RENAME also TO v2; ALTER TABLE t RENAME added TO also"),
            ),
            (
                "columns gone and come at once",
                &on_source("BEGIN; ALTER TABLE t DROP also, ADD again int; UPDATE t SET again = id; COMMIT"),
            ),
            (
                "another row",
                &on_source(
                    "INSERT INTO t (id, v) VALUES (1000, 1); UPDATE t SET v = -v WHERE id < 10; DELETE FROM t WHERE id = 400",
                ),
            ),
        ],
    );
    // A column of which nothing stays as it was but what hangs on it.
    let before = pair.mirror_value(TOLD);
    pair.on_source("ALTER TABLE t ALTER v TYPE date USING '2020-01-01'::date + v");
    ends_equal(&pair, "another type");
    assert_eq!(pair.mirror_value(TOLD), before);
    // A longer one.
    pair.on_source("ALTER TABLE t ALTER w TYPE varchar(70)");
    ends_equal(&pair, "a longer type");
    let widened = pair.mirror_value("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'odoo_mirror.t'::regclass AND attname = 'w'");
    assert_eq!((widened.as_str(), pair.mirror_value(TOLD)), ("character varying(70)", before));
}

#[test]
fn what_somebody_added_outlives_a_table_that_is_taken_in_anew() {
    let pair = started(OWN);
    pair.on_mirror("ALTER TABLE odoo_mirror.t ALTER w DROP NOT NULL");
    let start = "SELECT odoo_mirror.start()";
    stays(
        &pair,
        &[
            ("resync", &|| job(&pair, "odoo_mirror.resync('t')")),
            ("repair", &|| {
                pair.on_mirror(
                    "UPDATE odoo_mirror.t SET v = 0 WHERE id = 2; DELETE FROM odoo_mirror.t WHERE id = 300",
                );
                job(&pair, "odoo_mirror.verify('t', repair => true)");
            }),
            ("it leaves the publication and comes back", &|| {
                pair.on_source(
                    "ALTER PUBLICATION odoo_pub_scout DROP TABLE t; UPDATE t SET v = 7 WHERE id = 1",
                );
                eventually("it left", LIMIT, || {
                    let state =
                        pair.mirror_value("SELECT state FROM odoo_mirror.tables() WHERE table_name = 't'");
                    (state == "failed").then_some(())
                });
                pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLE t");
            }),
            ("it is made anew there", &|| {
                pair.on_source(&format!(
                    "BEGIN; DROP TABLE t, u; {TABLE} ALTER PUBLICATION odoo_pub_scout ADD TABLE t, u; COMMIT"
                ));
            }),
            ("the slot is gone", &|| {
                pair.on_mirror("SELECT odoo_mirror.stop()");
                // Whoever reads from it goes a moment later.
                let drop = "SELECT pg_drop_replication_slot('odoo_mirror')";
                eventually("the slot is dropped", LIMIT, || pair.source.try_sql("odoo", drop).ok());
                pair.on_source("UPDATE t SET v = 8 WHERE id = 1");
                pair.on_mirror(start);
            }),
            ("given up and begun anew", &|| {
                pair.on_mirror("SELECT odoo_mirror.uninstall()");
                pair.on_source("UPDATE t SET v = 9 WHERE id = 1");
                pair.on_mirror(start);
            }),
            ("the extension is installed anew", &|| {
                pair.on_mirror("SELECT odoo_mirror.uninstall(); DROP EXTENSION odoo_mirror; CREATE EXTENSION odoo_mirror");
                pair.on_source("UPDATE t SET v = 10 WHERE id = 1");
                pair.configure_and_start();
            }),
        ],
    );
}

#[test]
fn another_key_keeps_what_somebody_added() {
    let pair = started(
        "ALTER TABLE odoo_mirror.t ADD mine text, CLUSTER ON t_pkey, REPLICA IDENTITY USING INDEX t_pkey;
         UPDATE odoo_mirror.t SET mine = 'note ' || id WHERE id <= 3; CREATE INDEX own ON odoo_mirror.t (mine, v)",
    );
    let told = "SELECT string_agg(mine, ',' ORDER BY id) || to_regclass('odoo_mirror.own')::oid
                    || (SELECT indisclustered || ' ' || indisreplident FROM pg_index WHERE indexrelid = 'odoo_mirror.t_pkey'::regclass)
                FROM odoo_mirror.t";
    let before = pair.mirror_value(told);
    for change in [
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, w); UPDATE t SET v = 3 WHERE id = 3",
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (w), ALTER id TYPE bigint",
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id)",
    ] {
        pair.on_source(change);
        ends_equal(&pair, change);
        assert_eq!(pair.mirror_value(told), before, "{change}");
    }
}
