//! Short histories of one table each, all on one pair: what a table is, what happens to it, what
//! must be there then.

use super::{LIMIT, builder};
use crate::harness::Rng;

struct Scenario {
    /// What it shows, as a sentence.
    says: &'static str,
    table: &'static str,
    schema: &'static str,
    /// Each in a transaction of its own.
    steps: &'static [&'static str],
    /// A query on the mirror and its answer, where equality with the source isn't proof enough.
    then: Option<(&'static str, &'static str)>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        says: "inserts, updates and deletes arrive",
        table: "plain",
        schema: "CREATE TABLE plain (id int PRIMARY KEY, a text); INSERT INTO plain SELECT n, 'x' FROM generate_series(1, 100) n",
        steps: &[
            "INSERT INTO plain SELECT n, 'new' FROM generate_series(101, 200) n",
            "UPDATE plain SET a = NULL WHERE id % 2 = 0",
            "DELETE FROM plain WHERE id % 5 = 0",
        ],
        then: Some(("SELECT count(*) FROM odoo_mirror.plain", "160")),
    },
    Scenario {
        says: "a key that is changed many times in a transaction has its last value",
        table: "hot",
        schema: "CREATE TABLE hot (id int PRIMARY KEY, n int, a text); INSERT INTO hot VALUES (1, 0, 'a'), (2, 0, 'b')",
        steps: &[
            "DO $$ BEGIN FOR i IN 1..300 LOOP UPDATE hot SET n = n + 1, a = i::text WHERE id = 2; END LOOP; END $$",
            "DO $$ BEGIN FOR i IN 1..200 LOOP UPDATE hot SET n = n + 1 WHERE id = 1; COMMIT; END LOOP; END $$",
        ],
        then: Some(("SELECT string_agg(n::text, ',' ORDER BY id) FROM odoo_mirror.hot", "200,300")),
    },
    Scenario {
        says: "a row that goes and comes back is the new one",
        table: "back",
        schema: "CREATE TABLE back (id int PRIMARY KEY, a text, b text DEFAULT 'unset');
            INSERT INTO back VALUES (1, 'old', 'old'), (2, 'old', 'old'), (3, 'old', 'old')",
        steps: &[
            "DELETE FROM back WHERE id = 1; INSERT INTO back (id) VALUES (1)",
            "DELETE FROM back WHERE id = 2; INSERT INTO back VALUES (2, 'x'); UPDATE back SET a = 'y' WHERE id = 2",
            "DELETE FROM back WHERE id = 3; INSERT INTO back VALUES (3, 'x'); DELETE FROM back WHERE id = 3",
            "INSERT INTO back VALUES (4, 'x'); DELETE FROM back WHERE id = 4; INSERT INTO back VALUES (4, 'again')",
        ],
        then: Some(("SELECT count(*) FROM odoo_mirror.back", "3")),
    },
    Scenario {
        says: "two keys may be swapped in one transaction, and take their long values with them",
        table: "swap",
        schema: "CREATE TABLE swap (id int PRIMARY KEY, a text, big text); ALTER TABLE swap ALTER big SET STORAGE EXTERNAL;
            INSERT INTO swap SELECT id, 'row ' || id, repeat(md5(id::text), 300) FROM generate_series(1, 6) id",
        steps: &[
            "UPDATE swap SET id = 99 WHERE id = 1; UPDATE swap SET id = 1 WHERE id = 2; UPDATE swap SET id = 2 WHERE id = 99",
            "UPDATE swap SET id = -id WHERE id > 2; UPDATE swap SET id = 9 + id, a = 'moved' WHERE id < 0",
        ],
        then: Some((
            "SELECT count(*) || (SELECT a FROM odoo_mirror.swap WHERE id = 1) FROM odoo_mirror.swap WHERE length(big) = 9600",
            "6row 2",
        )),
    },
    Scenario {
        says: "a key that moves through many values ends where it should",
        table: "moves",
        schema: "CREATE TABLE moves (id int PRIMARY KEY, a text); INSERT INTO moves SELECT n, n::text FROM generate_series(1, 50) n",
        steps: &[
            "UPDATE moves SET id = id + 1000",
            "UPDATE moves SET id = id - 999 WHERE id > 1025; UPDATE moves SET a = a || '!' WHERE id < 60; DELETE FROM moves WHERE id = 30",
            "UPDATE moves SET id = 30 WHERE id = 31; INSERT INTO moves VALUES (31, 'new')",
        ],
        then: None,
    },
    Scenario {
        says: "a shift of all keys by one is followed",
        table: "shift",
        schema: "CREATE TABLE shift (id int PRIMARY KEY, a text); INSERT INTO shift SELECT n, n::text FROM generate_series(1, 20) n",
        steps: &["DO $$ BEGIN FOR i IN REVERSE 20..1 LOOP UPDATE shift SET id = id + 1 WHERE id = i; END LOOP; END $$"],
        then: Some(("SELECT a FROM odoo_mirror.shift WHERE id = 21", "20")),
    },
    Scenario {
        says: "unchanged values out of line stay through folded updates",
        table: "toast",
        schema: "CREATE TABLE toast (id int PRIMARY KEY, a text, big text, bigger text);
            ALTER TABLE toast ALTER big SET STORAGE EXTERNAL, ALTER bigger SET STORAGE EXTERNAL;
            INSERT INTO toast SELECT n, 'x', repeat(md5(n::text), 300), repeat(md5(n::text), 600) FROM generate_series(1, 20) n",
        steps: &[
            "UPDATE toast SET a = 'one'",
            "UPDATE toast SET big = repeat(md5('new' || id), 200) WHERE id % 2 = 0",
            "UPDATE toast SET bigger = NULL WHERE id % 3 = 0",
            "UPDATE toast SET a = 'two' WHERE id % 4 = 0",
            "DELETE FROM toast WHERE id = 20; INSERT INTO toast VALUES (20, 'back', repeat('z', 9000), NULL); UPDATE toast SET a = 'and changed' WHERE id = 20",
            "UPDATE toast SET id = 120 WHERE id = 19; UPDATE toast SET a = 'moved' WHERE id = 120",
        ],
        then: None,
    },
    Scenario {
        says: "a key stored out of line finds its row",
        table: "long_key",
        schema: "CREATE TABLE long_key (k text, n int, a text, big text, PRIMARY KEY (n, k));
            ALTER TABLE long_key ALTER k SET STORAGE EXTERNAL, ALTER big SET STORAGE EXTERNAL;
            INSERT INTO long_key SELECT g || repeat('z', 2300), g, 'x', repeat(md5(g::text), 100) FROM generate_series(1, 9) g",
        steps: &[
            "UPDATE long_key SET a = 'y' WHERE n < 4; UPDATE long_key SET a = a || '!' WHERE n = 1; UPDATE long_key SET big = NULL WHERE n = 2",
            "UPDATE long_key SET n = n + 100 WHERE n = 5; UPDATE long_key SET k = 'short' WHERE n = 6; UPDATE long_key SET k = '7' || repeat('w', 2300), a = 'z' WHERE n = 7",
            "DELETE FROM long_key WHERE n = 8; UPDATE long_key SET a = 'last'",
        ],
        then: Some(("SELECT count(*) FROM odoo_mirror.long_key WHERE a = 'last' AND k IS NOT NULL", "8")),
    },
    Scenario {
        says: "savepoints that were rolled back leave nothing",
        table: "saved",
        schema: "CREATE TABLE saved (id int PRIMARY KEY, a text)",
        steps: &["INSERT INTO saved VALUES (1, 'kept'); SAVEPOINT s; INSERT INTO saved VALUES (2, 'gone'); UPDATE saved SET a = 'gone';
            ROLLBACK TO s; INSERT INTO saved VALUES (2, 'kept'); SAVEPOINT s; UPDATE saved SET a = 'twice kept' WHERE id = 2; RELEASE s"],
        then: Some(("SELECT string_agg(id || a, ',' ORDER BY id) FROM odoo_mirror.saved", "1kept,2twice kept")),
    },
    Scenario {
        says: "logical messages pass without harm",
        table: "told",
        schema: "CREATE TABLE told (id int PRIMARY KEY, a text)",
        steps: &[
            "SELECT pg_logical_emit_message(true, 'app', 'in a transaction'); INSERT INTO told VALUES (1, 'x'); SELECT pg_logical_emit_message(true, '', '')",
            "SELECT pg_logical_emit_message(false, 'app', repeat('alone', 10000))",
            "SELECT pg_logical_emit_message(true, 'app', 'nothing else')",
            "INSERT INTO told VALUES (2, 'y')",
        ],
        then: Some(("SELECT count(*) FROM odoo_mirror.told", "2")),
    },
    Scenario {
        says: "transactions that the source replayed from elsewhere are mirrored",
        table: "replayed",
        schema: "CREATE TABLE replayed (id int PRIMARY KEY, a text)",
        steps: &[
            "SELECT pg_replication_origin_create('elsewhere')",
            "SELECT pg_replication_origin_session_setup('elsewhere'); SELECT pg_replication_origin_xact_setup('0/AAAA', now()); INSERT INTO replayed VALUES (1, 'from elsewhere')",
            "INSERT INTO replayed VALUES (2, 'from here')",
        ],
        then: Some(("SELECT count(*) FROM odoo_mirror.replayed", "2")),
    },
    Scenario {
        says: "changes to what is not published pass without harm",
        table: "public_one",
        schema: "CREATE TABLE public_one (id int PRIMARY KEY)",
        steps: &[
            "CREATE SCHEMA secret; CREATE TABLE secret.t (id int PRIMARY KEY); CREATE UNLOGGED TABLE quick (id int); CREATE TEMP TABLE brief (id int)",
            "INSERT INTO secret.t SELECT generate_series(1, 1000); INSERT INTO quick VALUES (1); INSERT INTO public_one VALUES (1)",
            "CREATE MATERIALIZED VIEW seen AS SELECT 1 AS one; REFRESH MATERIALIZED VIEW seen; DROP SCHEMA secret CASCADE",
        ],
        then: Some(("SELECT coalesce(to_regclass('odoo_mirror.secret__t')::text, 'none')", "none")),
    },
    Scenario {
        says: "a hundred columns, and names that need quotes",
        table: "Select \"Ünï' %",
        schema: "DO $do$ BEGIN EXECUTE (SELECT format('CREATE TABLE %I (\"Order\" int PRIMARY KEY, %s)', 'Select \"Ünï'' %',
                string_agg(format('%I int DEFAULT %s', 'col ' || n || '\"é', n), ', ')) FROM generate_series(1, 100) n); END $do$;
            INSERT INTO \"Select \"\"Ünï' %\" (\"Order\") VALUES (1), (2)",
        steps: &[
            "INSERT INTO \"Select \"\"Ünï' %\" (\"Order\") VALUES (3); UPDATE \"Select \"\"Ünï' %\" SET \"col 7\"\"é\" = NULL WHERE \"Order\" < 3",
            "DELETE FROM \"Select \"\"Ünï' %\" WHERE \"Order\" = 2",
        ],
        then: None,
    },
    Scenario {
        says: "dropped columns of the source are no columns",
        table: "with_holes",
        schema: "CREATE TABLE with_holes (id int PRIMARY KEY, a text, gone int, z text); ALTER TABLE with_holes DROP COLUMN gone; INSERT INTO with_holes VALUES (1, 'x', 'y');
            CREATE TABLE full_with_holes (a int, gone int, b int NOT NULL); ALTER TABLE full_with_holes REPLICA IDENTITY FULL;
            ALTER TABLE full_with_holes DROP COLUMN gone; INSERT INTO full_with_holes VALUES (1, 2)",
        steps: &[
            "UPDATE with_holes SET a = 'w'; INSERT INTO with_holes VALUES (2, NULL, 'z')",
            "UPDATE full_with_holes SET a = 5; UPDATE full_with_holes SET b = 6; INSERT INTO full_with_holes VALUES (NULL, 1)",
            "UPDATE full_with_holes SET a = 1 WHERE a IS NULL; DELETE FROM full_with_holes WHERE b = 6",
        ],
        then: Some(("SELECT string_agg(a || ' ' || b, ',') FROM odoo_mirror.full_with_holes", "1 1")),
    },
    Scenario {
        says: "a table that is made and dropped in one transaction is no harm",
        table: "lasting",
        schema: "CREATE TABLE lasting (id int PRIMARY KEY)",
        steps: &["CREATE TABLE fleeting (id int PRIMARY KEY); INSERT INTO fleeting VALUES (1); DROP TABLE fleeting; INSERT INTO lasting VALUES (3)"],
        then: Some(("SELECT id::text FROM odoo_mirror.lasting", "3")),
    },
    Scenario {
        says: "generated columns are left out, and their table follows",
        table: "made",
        schema: "CREATE TABLE made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, a text,
                n int GENERATED ALWAYS AS IDENTITY, loud text GENERATED ALWAYS AS (upper(a)) STORED);
            INSERT INTO made (id, a) SELECT g, 'x' FROM generate_series(1, 20) g",
        steps: &["INSERT INTO made (id, a) VALUES (21, 'y'); UPDATE made SET a = 'z' WHERE id < 5; UPDATE made SET id = 100 WHERE id = 7; DELETE FROM made WHERE id = 3"],
        then: Some(("SELECT count(*) FROM odoo_mirror.made WHERE a IS NOT NULL AND n IS NOT NULL", "20")),
    },
    Scenario {
        says: "spaces and zeroes that mean nothing to a key are kept",
        table: "zeroes",
        schema: "CREATE TABLE zeroes (k numeric PRIMARY KEY, v text); INSERT INTO zeroes VALUES (1.0, 'x'), (2.50, 'x'), (0, 'x');
            CREATE TABLE signs (k float8 PRIMARY KEY, v text); INSERT INTO signs VALUES ('-0', 'x'), (1, 'x');
            CREATE TABLE spans (k interval PRIMARY KEY, v text); INSERT INTO spans VALUES ('1 mon', 'x'), ('1 day', 'x')",
        steps: &[
            "UPDATE zeroes SET k = 1.000 WHERE k = 1; UPDATE zeroes SET v = 'y' WHERE k = 2.5; UPDATE signs SET k = 0 WHERE k = 0; UPDATE spans SET k = '30 days' WHERE k = '1 mon'",
            "DELETE FROM zeroes WHERE k = 2.5; INSERT INTO zeroes VALUES (2.5, 'back'); UPDATE zeroes SET k = 2.50000, v = 'z' WHERE k = 2.5",
            "UPDATE spans SET v = 'w'; DELETE FROM spans WHERE k = '24 hours'",
        ],
        then: Some(("SELECT string_agg(k::text, ' ' ORDER BY k) FROM odoo_mirror.zeroes", "0 1.000 2.50000")),
    },
    Scenario {
        says: "a change of the replica identity between changes does not lead astray",
        table: "identity",
        schema: "CREATE TABLE identity (id int PRIMARY KEY, code int NOT NULL UNIQUE, v text); INSERT INTO identity SELECT n, n + 100, 'x' FROM generate_series(1, 20) n",
        steps: &[
            "UPDATE identity SET v = 'a'; ALTER TABLE identity REPLICA IDENTITY FULL; UPDATE identity SET v = 'b' WHERE id < 10; DELETE FROM identity WHERE id = 1",
            "UPDATE identity SET id = id + 50 WHERE id > 15; ALTER TABLE identity REPLICA IDENTITY DEFAULT",
            "UPDATE identity SET v = 'c' WHERE id > 60; DELETE FROM identity WHERE id = 2",
        ],
        then: None,
    },
    Scenario {
        says: "an emptied table is empty, and filled again",
        table: "emptied",
        schema: "CREATE TABLE emptied (id int PRIMARY KEY); INSERT INTO emptied SELECT generate_series(1, 50);
            CREATE TABLE bare (n int); INSERT INTO bare SELECT generate_series(1, 50)",
        steps: &[
            "TRUNCATE emptied",
            "INSERT INTO emptied VALUES (1); TRUNCATE emptied, bare; INSERT INTO emptied VALUES (1), (2); DELETE FROM emptied WHERE id = 1; INSERT INTO bare VALUES (4)",
            "SAVEPOINT s; TRUNCATE emptied, bare; ROLLBACK TO s; INSERT INTO emptied VALUES (7)",
        ],
        then: Some(("SELECT string_agg(id::text, ',' ORDER BY id) FROM odoo_mirror.emptied", "2,7")),
    },
    Scenario {
        says: "TRUNCATE CASCADE and RESTART IDENTITY are followed",
        table: "parent",
        schema: "CREATE TABLE parent (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, a text); INSERT INTO parent (a) SELECT 'x' FROM generate_series(1, 50);
            CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent); INSERT INTO child SELECT n, n FROM generate_series(1, 50) n",
        steps: &["TRUNCATE parent RESTART IDENTITY CASCADE; INSERT INTO parent (a) VALUES ('first again'); INSERT INTO child VALUES (9, 1)"],
        then: Some(("SELECT (SELECT id || a FROM odoo_mirror.parent) || (SELECT id FROM odoo_mirror.child)", "1first again9")),
    },
];

/// Each history in its order; which one's turn it is, chance says.
#[test]
fn each_scenario_ends_as_the_source_did() {
    let mut rng = Rng::seeded(8);
    let pair = builder().start();
    for scenario in SCENARIOS {
        pair.on_source(scenario.schema);
    }
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    let mut left: Vec<(&Scenario, usize)> = SCENARIOS.iter().map(|scenario| (scenario, 0)).collect();
    while !left.is_empty() {
        let turn = rng.number(0..left.len() as i64) as usize;
        let (scenario, step) = &mut left[turn];
        let statements = scenario.steps[*step];
        // What commits by itself can't run in a block.
        let statements = if statements.contains("COMMIT") {
            statements.to_owned()
        } else {
            format!("BEGIN; {statements}; COMMIT")
        };
        pair.source
            .try_sql("odoo", &statements)
            .unwrap_or_else(|error| panic!("{}: {error:?}", scenario.says));
        *step += 1;
        if *step == scenario.steps.len() {
            left.swap_remove(turn);
        }
    }
    pair.caught_up();
    for Scenario { says, table, then, .. } in SCENARIOS {
        println!("{says}");
        pair.assert_equal(table);
        if let Some((query, answer)) = then {
            assert_eq!(pair.mirror_value(query), *answer, "{says}");
        }
    }
    pair.assert_all_equal();
    let states = "SELECT string_agg(table_name || ' ' || state, ', ') FROM odoo_mirror.tables() WHERE state <> 'ready'";
    assert_eq!(pair.mirror_value(states), "");
}
