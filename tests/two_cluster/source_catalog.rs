//! What is read from a real source's catalogs: tables, keys, writers, slots.

use crate::harness::{Cluster, Samples};
use odoo_mirror::mirror::shape::MirrorShape;
use odoo_mirror::mirror::source_table::{SourceTable, SourceType, WhyLeftOut};
use odoo_mirror::mirror::typemap::TypeHere;
use odoo_mirror::source::{catalog, identity, slot, writers};
use tokio_postgres::{Client, NoTls};

/// A source with logical decoding and prepared transactions.
pub(crate) fn source() -> Cluster {
    Cluster::builder()
        .name("source")
        .conf("wal_level", "logical")
        .conf("max_prepared_transactions", "5")
        .start()
}

/// Runs `ask` with a session of `role` on the source.
pub(crate) fn asking<T>(cluster: &Cluster, role: &str, ask: impl AsyncFnOnce(&Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let conninfo = format!("host=127.0.0.1 port={} user={role} dbname=postgres", cluster.port());
        let (client, connection) =
            tokio_postgres::connect(&conninfo, NoTls).await.expect("the source answers");
        let connection = tokio::spawn(connection);
        let answer = ask(&client).await;
        drop(client);
        connection.await.expect("it doesn't panic").expect("it ends in peace");
        answer
    })
}

pub(crate) fn tables(cluster: &Cluster, publication: &str, excluded: &[&str]) -> Vec<SourceTable> {
    tables_for(cluster, "postgres", publication, excluded)
}

pub(crate) fn tables_for(
    cluster: &Cluster,
    role: &str,
    publication: &str,
    excluded: &[&str],
) -> Vec<SourceTable> {
    let excluded: Vec<String> = excluded.iter().map(|&name| name.to_owned()).collect();
    asking(cluster, role, async |client| {
        catalog::published_tables(client, publication, &excluded).await.expect("the catalog can be read")
    })
}

fn names(tables: &[SourceTable]) -> Vec<&str> {
    tables.iter().map(|table| table.name.as_str()).collect()
}

fn columns(table: &SourceTable) -> Vec<&str> {
    table.columns.iter().map(|column| column.name.as_str()).collect()
}

/// What is left out, and why.
fn left_out(table: &SourceTable) -> Vec<(&str, WhyLeftOut)> {
    table.left_out.iter().map(|left_out| (left_out.column.as_str(), left_out.why)).collect()
}

mod smoke {
    use super::*;

    #[test]
    fn a_published_table_is_read_with_its_columns_and_its_key() {
        let source = source();
        source.sql(
            "postgres",
            "CREATE TYPE mood AS ENUM ('sad', 'ok');
             CREATE DOMAIN amounts AS numeric(10,2)[];
             CREATE TABLE \"Ord er\" (
                 id int, gone int, part text, name varchar(5) COLLATE \"C\", moods mood[], sums amounts, v int2vector,
                 twice int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (part, id));
             ALTER TABLE \"Ord er\" DROP gone;
             INSERT INTO \"Ord er\" (id, part) VALUES (1, 'a');
             ALTER TABLE \"Ord er\" ADD state text DEFAULT 'a, \"b\"', ADD corners box DEFAULT '(3,4),(1,2)';
             CREATE PUBLICATION p FOR TABLE \"Ord er\"",
        );
        let found = tables(&source, "p", &[]);
        assert_eq!(names(&found), ["Ord er"]);
        let table = &found[0];
        assert_eq!((table.kind, table.replica_identity, table.via_root), ('r', 'd', false));
        assert!(table.publishes.everything() && !table.row_security && table.bytes > 0);
        assert_eq!(table.row_filter, None);
        assert_eq!(columns(table), ["id", "part", "name", "moods", "sums", "v", "state", "corners"]);
        assert_eq!(left_out(table), [("twice", WhyLeftOut::Generated)]);
        assert_eq!(table.primary_key, ["part", "id"]);
        assert_eq!(table.identity_key, Vec::<String>::new());
        assert_eq!(
            table.columns.iter().map(|column| column.attnum).collect::<Vec<_>>(),
            [1, 3, 4, 5, 6, 7, 9, 10]
        );

        let column = |name: &str| table.column(name).expect("it is there");
        assert_eq!(column("name").data_type.formatted, "character varying(5)");
        assert_eq!((column("name").deterministic, column("id").deterministic), (Some(true), None));
        assert!(column("id").not_null && !column("name").not_null);
        let moods = column("moods").data_type.element.as_ref().expect("an array");
        assert_eq!((moods.schema.as_str(), moods.name.as_str(), moods.kind), ("public", "mood", 'e'));
        let sums = column("sums").data_type.base.as_ref().expect("a domain");
        assert_eq!((column("sums").data_type.kind, sums.formatted.as_str()), ('d', "numeric(10,2)[]"));
        assert_eq!(sums.element.as_ref().expect("an array").formatted, "numeric(10,2)");
        assert_eq!(column("v").data_type.element, None);
        assert_eq!(column("state").constant_default.as_deref(), Some("a, \"b\""));
        assert_eq!(column("corners").constant_default.as_deref(), Some("(3,4),(1,2)"));
        assert_eq!(column("name").constant_default, None);
    }

    #[test]
    fn the_identity_index_is_read_beside_the_primary_key_and_a_deferrable_key_is_none() {
        let source = source();
        source.sql(
            "postgres",
            "CREATE TABLE by_index (id int PRIMARY KEY, a int NOT NULL, b int NOT NULL, c int);
             CREATE UNIQUE INDEX i ON by_index (b, a) INCLUDE (c);
             ALTER TABLE by_index REPLICA IDENTITY USING INDEX i;
             CREATE TABLE later (id int PRIMARY KEY DEFERRABLE);
             CREATE TABLE whole (a int); ALTER TABLE whole REPLICA IDENTITY FULL;
             CREATE PUBLICATION p FOR ALL TABLES",
        );
        let found = tables(&source, "p", &[]);
        assert_eq!(names(&found), ["by_index", "later", "whole"]);
        assert_eq!((found[0].replica_identity, found[2].replica_identity), ('i', 'f'));
        assert_eq!(
            (&found[0].primary_key, &found[0].identity_key),
            (&vec!["id".into()], &vec!["b".into(), "a".into()])
        );
        assert_eq!(found[1].primary_key, Vec::<String>::new());
    }

    #[test]
    fn a_partitioned_table_is_its_leaves_or_its_root() {
        let source = source();
        source.sql(
            "postgres",
            "CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE low PARTITION OF root FOR VALUES FROM (0) TO (100);
             CREATE TABLE high PARTITION OF root FOR VALUES FROM (100) TO (1000) PARTITION BY RANGE (id);
             CREATE TABLE higher PARTITION OF high FOR VALUES FROM (100) TO (1000);
             INSERT INTO root SELECT generate_series(1, 999); ANALYZE;
             CREATE PUBLICATION leaves FOR TABLE root;
             CREATE PUBLICATION roots FOR TABLE root WITH (publish_via_partition_root)",
        );
        let leaves = tables(&source, "leaves", &[]);
        assert_eq!(names(&leaves), ["higher", "low"]);
        assert_eq!((leaves[0].kind, leaves[0].estimated_rows, leaves[0].via_root), ('r', 900, false));
        let roots = tables(&source, "roots", &[]);
        assert_eq!(names(&roots), ["root"]);
        assert_eq!((roots[0].kind, roots[0].estimated_rows, roots[0].via_root), ('p', 999, true));
        assert!(roots[0].bytes > 0);
        assert_eq!(roots[0].primary_key, ["id"]);
    }

    #[test]
    fn column_lists_row_filters_and_whole_schemas_are_followed() {
        let source = source();
        source.sql(
            "postgres",
            "CREATE SCHEMA sales;
             CREATE TABLE sales.t (id int PRIMARY KEY);
             CREATE TABLE listed (id int PRIMARY KEY, a int, b int, g int GENERATED ALWAYS AS (a) STORED);
             CREATE PUBLICATION p FOR TABLE listed (id, b) WHERE (id > 5);
             CREATE PUBLICATION s FOR TABLES IN SCHEMA sales;
             CREATE PUBLICATION inserts FOR TABLE listed WITH (publish = 'insert')",
        );
        let found = tables(&source, "p", &[]);
        assert_eq!(columns(&found[0]), ["id", "b"]);
        assert_eq!(left_out(&found[0]), [("a", WhyLeftOut::ColumnList), ("g", WhyLeftOut::Generated)]);
        assert_eq!(found[0].row_filter.as_deref(), Some("(id > 5)"));
        let found = tables(&source, "s", &[]);
        assert_eq!((found[0].schema.as_str(), found[0].name.as_str()), ("sales", "t"));
        let publishes = tables(&source, "inserts", &[])[0].publishes;
        assert!(publishes.insert && !publishes.update && !publishes.delete && !publishes.truncate);
        assert_eq!(tables(&source, "nosuch", &[]), []);
    }

    #[test]
    fn generated_columns_are_mirrored_where_the_source_publishes_them() {
        let source = source();
        if source.major() < 18 {
            return;
        }
        source.sql(
            "postgres",
            "CREATE TABLE t (id int PRIMARY KEY, s int GENERATED ALWAYS AS (id) STORED, v int GENERATED ALWAYS AS (id));
             CREATE PUBLICATION p FOR TABLE t WITH (publish_generated_columns = stored);
             CREATE PUBLICATION listed FOR TABLE t (id, s)",
        );
        for publication in ["p", "listed"] {
            let found = tables(&source, publication, &[]);
            assert_eq!(columns(&found[0]), ["id", "s"]);
            assert_eq!(left_out(&found[0]), [("v", WhyLeftOut::Generated)]);
        }
    }

    #[test]
    fn writers_are_found_with_their_names_prepared_ones_also_after_a_restart() {
        let source = source();
        source.sql(
            "postgres",
            "CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (100);
             CREATE TABLE other (id int); CREATE ROLE plain LOGIN",
        );
        let mut session = source.connect("postgres");
        let prepared = transaction(&mut session, "INSERT INTO root VALUES (1)");
        session.batch_execute("PREPARE TRANSACTION 'left behind'").expect("it prepares");
        // The same session goes on, and must not be taken for the prepared transaction.
        let elsewhere = transaction(&mut session, "INSERT INTO other VALUES (1)");
        let mut second = source.connect("postgres");
        let open = transaction(&mut second, "SAVEPOINT s; INSERT INTO leaf VALUES (2)");

        for table in ["root", "leaf"] {
            let found = writers_of(&source, table);
            assert!(found.contains(&prepared) && found.contains(&open), "{found:?} of {table}");
            assert!(!found.contains(&elsewhere), "{found:?} of {table}");
        }
        let leaf: u32 = source.value("postgres", "SELECT 'leaf'::regclass::oid").parse().expect("an OID");
        let blockers = asking(&source, "plain", async |client| {
            writers::blockers(client, leaf, &[prepared, open, 3]).await.expect("it can be asked")
        });
        assert_eq!(blockers.len(), 2);
        let of = |xid: u64| blockers.iter().find(|blocker| blocker.xid == xid).expect("it blocks");
        assert_eq!((of(prepared).pid, of(prepared).gid.as_deref()), (None, Some("left behind")));
        assert!(of(prepared).age_seconds.is_some_and(|age| age >= 0.0));
        assert!(of(open).pid.is_some() && of(open).gid.is_none());
        assert!(of(open).holds_it && of(prepared).holds_it);
        assert_eq!((&of(open).tables, of(prepared).tables.len()), (&vec!["public.leaf".to_owned()], 2));

        drop((session, second));
        source.restart();
        assert_eq!(writers_of(&source, "leaf"), [prepared]);
        source.sql("postgres", "ROLLBACK PREPARED 'left behind'");
        assert_eq!(writers_of(&source, "leaf"), Vec::<u64>::new());
    }

    #[test]
    fn a_slot_shows_what_it_is() {
        let source = source();
        let look = |name: &str| {
            asking(&source, "postgres", async |client| {
                slot::slot(client, name).await.expect("it can be asked")
            })
        };
        assert_eq!(look("s"), None);
        source.sql("postgres", "SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
        let found = look("s").expect("it is there");
        assert_eq!(
            (found.plugin.as_deref(), found.database.as_deref()),
            (Some("pgoutput"), Some("postgres"))
        );
        assert_eq!((found.active_pid, found.two_phase, found.lost()), (None, false, None));
        assert!(found.confirmed_flush > found.restart_lsn && found.restart_lsn.is_some());
        source.sql("postgres", "SELECT pg_create_physical_replication_slot('ph')");
        let physical = look("ph").expect("it is there");
        assert_eq!((physical.plugin, physical.database, physical.confirmed_flush), (None, None, None));
    }

    #[test]
    fn an_ordinary_role_may_read_who_the_source_is() {
        let source = source();
        source.sql("postgres", "CREATE ROLE plain LOGIN REPLICATION");
        let found =
            asking(&source, "plain", async |client| identity::identify(client).await.expect("it may"));
        let expected = source.value("postgres", "SELECT system_identifier FROM pg_control_system()");
        assert_eq!(found.system_identifier.map(|id| id.to_string()), Some(expected));
        assert_eq!(
            (found.timeline, found.in_recovery, found.wal_level.as_str()),
            (Some(1), false, "logical")
        );
        assert_eq!((found.database.as_str(), found.wal_sender_timeout_ms), ("postgres", 60_000));
        assert_eq!((found.block_size, found.wal_segment_size), (8192, 16 << 20));
        assert_eq!(found.server_version_num / 10_000, source.major().cast_signed());
    }
}

/// Begins a transaction that runs `statements`; its xid.
fn transaction(session: &mut postgres::Client, statements: &str) -> u64 {
    session.batch_execute(&format!("BEGIN; SELECT pg_current_xact_id(); {statements}")).expect("it writes");
    let row = session.query_one("SELECT pg_current_xact_id()::text", &[]).expect("it has an xid");
    row.get::<_, String>(0).parse().expect("a number")
}

fn writers_of(source: &Cluster, table: &str) -> Vec<u64> {
    let oid: u32 =
        source.value("postgres", &format!("SELECT '{table}'::regclass::oid")).parse().expect("an OID");
    asking(source, "postgres", async |client| writers::writers(client, oid).await.expect("it can be asked"))
}

#[test]
fn excluded_columns_are_left_out_of_one_table_or_of_all() {
    let source = source();
    source.sql(
        "postgres",
        "CREATE TABLE a (id int PRIMARY KEY, token text, x int);
         CREATE TABLE b (id int PRIMARY KEY, token text, x int);
         CREATE PUBLICATION p FOR TABLE a, b",
    );
    let found = tables(&source, "p", &["token", "b.x"]);
    assert_eq!((columns(&found[0]), columns(&found[1])), (vec!["id", "x"], vec!["id"]));
    assert_eq!(left_out(&found[1]), [("token", WhyLeftOut::Configuration), ("x", WhyLeftOut::Configuration)]);
}

#[test]
fn row_security_counts_only_for_roles_that_it_binds() {
    let source = source();
    source.sql(
        "postgres",
        "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE ROLE bound LOGIN; CREATE ROLE free LOGIN BYPASSRLS; GRANT SELECT ON t TO bound, free;
         CREATE PUBLICATION p FOR TABLE t",
    );
    for (role, bound) in [("bound", true), ("free", false), ("postgres", false)] {
        assert_eq!(tables_for(&source, role, "p", &[])[0].row_security, bound, "{role}");
    }
}

#[test]
fn odoos_tables_of_every_version_can_be_mirrored_as_they_are() {
    let Some(samples) = Samples::find() else { return };
    let source = source();
    for odoo in 16..=19 {
        source.sql("postgres", "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        samples.load_schema(&source, "postgres", odoo);
        source.sql("postgres", "DROP PUBLICATION IF EXISTS p; CREATE PUBLICATION p FOR ALL TABLES");
        let found = tables(&source, "p", &["access_token", "signup_token"]);
        assert_eq!(found.len(), 15, "{:?}", names(&found));
        let resolver = |of: &SourceType| {
            Some(TypeHere { formatted: of.formatted.clone(), kind: of.kind, base: None, missing_grant: None })
        };
        for table in &found {
            let shape = MirrorShape::of(table, &resolver).expect("it can be mirrored");
            assert!(
                shape.binary_stream && shape.copy_binary && shape.key_bytes_mean_equality,
                "{}",
                table.name
            );
            assert_eq!(shape.key, table.primary_key, "{}", table.name);
            let cut = table.primary_key.len() == 1;
            assert_eq!(table.integer_key().is_some(), cut, "{}", table.name);
            assert!(table.left_out.iter().all(|left_out| left_out.why == WhyLeftOut::Configuration));
        }
    }
}
