//! Code that hangs on whatever the worker touches, and notes whom it runs as: never a superuser,
//! and no setting of its lasts.

use super::{admin, assert_nobody_rose, start, supabase, wait_table};
use crate::harness::eventually;
use std::time::Duration;

/// Notes are taken in the worker's processes alone: no client is connected to them.
const SCENE: &str = "
    CREATE SCHEMA noted; GRANT USAGE ON SCHEMA noted TO PUBLIC;
    CREATE TABLE noted.notes (via text, who name, login name, super bool);
    GRANT ALL ON noted.notes TO PUBLIC;
    CREATE FUNCTION noted.note(via text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN
      IF inet_client_port() IS NULL THEN
        INSERT INTO noted.notes VALUES (via, current_user, session_user,
          (SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname IN (current_user, session_user)));
      END IF;
    END $$;
    CREATE FUNCTION noted.spoil() RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
      way text;
    BEGIN
      IF pg_catalog.inet_client_port() IS NOT NULL THEN RETURN; END IF;
      PERFORM pg_catalog.set_config('search_path', 'evil, pg_catalog', false);
      PERFORM pg_catalog.set_config('lock_timeout', '1', false);
      FOREACH way IN ARRAY ARRAY['RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET ROLE supabase_admin',
                                 'SET SESSION AUTHORIZATION supabase_admin', 'SET ROLE postgres'] LOOP
        BEGIN EXECUTE way; PERFORM noted.note('way out: ' || way); EXCEPTION WHEN OTHERS THEN NULL; END;
      END LOOP;
    END $$;
    -- What would be used in place of pg_catalog's, if the path stayed.
    CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
    CREATE FUNCTION evil.eq(name, name) RETURNS bool LANGUAGE plpgsql AS $$
      BEGIN PERFORM noted.note('operator'); RETURN pg_catalog.nameeq($1, $2); END $$;
    CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.eq);
    CREATE FUNCTION evil.eq(text, text) RETURNS bool LANGUAGE plpgsql AS $$
      BEGIN PERFORM noted.note('operator'); RETURN pg_catalog.texteq($1, $2); END $$;
    CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
    CREATE FUNCTION noted.row() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM noted.note(TG_ARGV[0]), noted.spoil(); IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$;
    CREATE FUNCTION noted.event() RETURNS event_trigger LANGUAGE plpgsql AS $$
      DECLARE
        path text := pg_catalog.concat('path ', pg_catalog.current_setting('search_path'));
      BEGIN
        IF tg_event OPERATOR(pg_catalog.=) 'ddl_command_start' THEN PERFORM noted.note(path); END IF;
        PERFORM noted.note(pg_catalog.concat('event ', tg_event)), noted.spoil();
      END $$;
    CREATE EVENT TRIGGER first ON ddl_command_start EXECUTE FUNCTION noted.event(); ALTER EVENT TRIGGER first ENABLE ALWAYS;
    CREATE EVENT TRIGGER last ON ddl_command_end EXECUTE FUNCTION noted.event(); ALTER EVENT TRIGGER last ENABLE ALWAYS;
    CREATE FUNCTION noted.checked(text) RETURNS bool LANGUAGE plpgsql AS $$
      BEGIN PERFORM noted.note('domain'), noted.spoil(); RETURN $1 <> 'refused'; END $$;
    CREATE DOMAIN public.mail AS text CHECK (noted.checked(VALUE));
    CREATE FUNCTION noted.volatile(int) RETURNS int LANGUAGE plpgsql AS $$
      BEGIN PERFORM noted.note('index'), noted.spoil(); RETURN $1; END $$;
    CREATE FUNCTION noted.expression(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
      BEGIN RETURN noted.volatile($1); END $$;
    -- A constant for the planner, which runs it when it looks at the table.
    CREATE FUNCTION noted.fold(int) RETURNS int LANGUAGE plpgsql AS $$
      BEGIN PERFORM noted.note('planner'), noted.spoil(); RETURN $1; END $$;
    CREATE FUNCTION noted.folded(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN noted.fold($1); END $$;
    CREATE FUNCTION noted.checked(int, via text) RETURNS bool LANGUAGE plpgsql AS $$
      BEGIN PERFORM noted.note(via), noted.spoil(); RETURN true; END $$;
    CREATE FUNCTION noted.logged(int) RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
      BEGIN RAISE LOG 'noted % of %', current_user, session_user; PERFORM pg_catalog.pg_sleep(0.002); RETURN $1; END $$;
    CREATE TYPE public.mood AS ENUM ('ok', 'bad');
    CREATE FUNCTION noted.told(public.mood) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN PERFORM noted.note('cast'), noted.spoil(); RETURN pg_catalog.concat($1); END $$;
    CREATE CAST (public.mood AS text) WITH FUNCTION noted.told(public.mood);
    CREATE FUNCTION noted.policy() RETURNS bool LANGUAGE plpgsql AS $$
      BEGIN PERFORM noted.note('policy'), noted.spoil(); RETURN true; END $$;";

#[test]
fn whatever_hangs_on_what_the_worker_touches_runs_as_no_superuser_and_leaves_no_setting() {
    let pair = supabase();
    admin(&pair, SCENE);
    pair.on_source(
        "CREATE DOMAIN public.mail AS text; CREATE TYPE public.mood AS ENUM ('ok', 'bad');
         CREATE TABLE account_move (id int PRIMARY KEY, name text, move_type text, amount_total numeric, m public.mail, partner_id int, f public.mood DEFAULT 'ok');
         INSERT INTO account_move (id, name, move_type, amount_total, m) SELECT i, 'n', 'out_invoice', i, 'a@b' FROM generate_series(1, 50) i",
    );
    pair.on_source("CREATE TABLE retyped (id int PRIMARY KEY, n int); INSERT INTO retyped SELECT i, i FROM generate_series(1, 500) i");
    pair.publish_all();
    start(&pair);
    wait_table(&pair, "account_move", "ready");
    wait_table(&pair, "retyped", "ready");
    pair.on_mirror("SELECT odoo_mirror.enable_ai_memory(create_schema => true)");
    admin(
        &pair,
        "CREATE TRIGGER noted BEFORE INSERT OR UPDATE OR DELETE ON odoo_mirror.account_move FOR EACH ROW EXECUTE FUNCTION noted.row('row');
         ALTER TABLE odoo_mirror.account_move ENABLE ALWAYS TRIGGER noted;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON odoo_mirror.account_move DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION noted.row('deferred');
         ALTER TABLE odoo_mirror.account_move ENABLE ALWAYS TRIGGER late;
         CREATE INDEX noted ON odoo_mirror.account_move (noted.expression(id));
         CREATE INDEX planned ON odoo_mirror.account_move ((noted.folded(1))) WHERE noted.folded(2) > 0;
         ALTER TABLE odoo_mirror.account_move ADD CONSTRAINT noted CHECK (noted.checked(id, 'check'));
         ALTER TABLE odoo_mirror.account_move ALTER COLUMN partner_id SET DEFAULT noted.folded(3);
         CREATE RULE noted AS ON DELETE TO odoo_mirror.account_move DO ALSO SELECT noted.note('rule'), noted.spoil();
         ALTER TABLE odoo_mirror.account_move ENABLE ALWAYS RULE noted;
         CREATE POLICY noted ON odoo_mirror.account_move USING (noted.policy());
         CREATE INDEX logged ON odoo_mirror.retyped (noted.logged(id));
         ALTER TABLE odoo_mirror.retyped SET (parallel_workers = 2);
         CREATE TRIGGER noted BEFORE INSERT ON ipai_memory.chunks FOR EACH ROW EXECUTE FUNCTION noted.row('memory');
         ALTER TABLE ipai_memory.chunks ENABLE ALWAYS TRIGGER noted",
    );
    pair.on_source("INSERT INTO account_move (id, name, move_type, amount_total, m) VALUES (100, 'n', 'out_invoice', 1, 'a@b'); UPDATE account_move SET name = 'u' WHERE id < 9; DELETE FROM account_move WHERE id = 3");
    pair.caught_up();
    // Drift, within a transaction with rows.
    pair.on_source("BEGIN; ALTER TABLE account_move ADD COLUMN extra int; UPDATE account_move SET extra = 1 WHERE id < 20; COMMIT");
    pair.caught_up();
    // An index that is built anew by parallel workers.
    let before = pair.mirror.log().len();
    pair.on_source("ALTER TABLE retyped ALTER COLUMN n TYPE bigint");
    let in_parallel = eventually("it is built by workers", Duration::from_secs(30), || {
        let log = pair.mirror.log();
        let of_workers = |line: &&str| line.contains("parallel worker") && line.contains("noted ");
        let lines: Vec<String> = log[before..].lines().filter(of_workers).map(str::to_owned).collect();
        (!lines.is_empty()).then_some(lines)
    });
    for line in in_parallel {
        assert!(line.contains("noted odoo_mirror_owner of odoo_mirror_worker"), "{line}");
    }
    pair.caught_up();
    // A row that is refused, and one that comes back.
    pair.on_source("INSERT INTO account_move (id, name, move_type, amount_total, m) VALUES (101, 'n', 'out_invoice', 1, 'refused')");
    pair.caught_up();
    pair.on_source("UPDATE account_move SET m = 'a@b' WHERE id = 101");
    pair.on_mirror("SELECT odoo_mirror.retry_failures()");
    pair.caught_up();
    // Comparing, with something to mend.
    admin(&pair, "UPDATE odoo_mirror.account_move SET name = 'wrong' WHERE id = 7");
    let job = pair.mirror_value("SELECT odoo_mirror.resync('account_move')");
    eventually("it is compared", Duration::from_secs(60), || {
        let query = format!("SELECT 1 FROM odoo_mirror.jobs() WHERE id = {job} AND finished_at IS NOT NULL");
        pair.mirror.try_rows("mirror", &query).ok().filter(|rows| !rows.is_empty())
    });
    // A lost slot, and a table that comes late.
    pair.on_mirror("SELECT odoo_mirror.stop()");
    pair.wait_state("stopped");
    pair.on_source("SELECT pg_drop_replication_slot('odoo_mirror')");
    pair.on_source("CREATE TABLE late (id int PRIMARY KEY, m public.mail); INSERT INTO late VALUES (1, 'a@b'); ALTER PUBLICATION odoo_pub_scout ADD TABLE late");
    pair.on_mirror("SELECT odoo_mirror.start()");
    wait_table(&pair, "late", "ready");
    wait_table(&pair, "account_move", "ready");
    pair.caught_up();
    pair.on_mirror("SELECT odoo_mirror.uninstall()");

    let notes = |what: &str| {
        pair.mirror_value(&format!("SELECT coalesce(string_agg(DISTINCT {what}, ', '), '') FROM noted.notes"))
    };
    let taken = notes("via");
    // A cast isn't among them: values are written by their types' output functions.
    for via in [
        "check",
        "deferred",
        "domain",
        "event ddl_command_end",
        "event ddl_command_start",
        "index",
        "memory",
        "planner",
        "row",
        "rule",
    ] {
        assert!(taken.contains(via), "{via} is missing in: {taken}");
    }
    assert!(!taken.contains("operator") && !taken.contains("way out"), "{taken}");
    // No statement begins with what an earlier one's code has set.
    assert!(taken.contains("path pg_catalog, pg_temp") && !taken.contains("path evil"), "{taken}");
    assert_eq!(notes("CASE WHEN super THEN concat_ws(' ', via, who, login) END"), "");
    assert_eq!(notes("login"), "odoo_mirror_worker");
    // Nor as the role that keeps the mirror's own state, such as whether a superuser configured it.
    assert_eq!(notes("who"), "odoo_mirror_owner");
    assert_nobody_rose(&pair);
}
