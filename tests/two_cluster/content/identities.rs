//! How rows are told apart: keys of each kind, replica identities of each kind, none.

use super::{builder, mirroring, tables};

#[test]
fn each_replica_identity_is_followed() {
    let pair = mirroring(
        "CREATE TABLE composite (a int, b text, c date, v text, PRIMARY KEY (b, a, c));
         CREATE TABLE by_index (p int PRIMARY KEY, code text NOT NULL, region int NOT NULL, v text);
         CREATE UNIQUE INDEX by_index_code ON by_index (region, code);
         ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code;
         CREATE TABLE full_key (id int PRIMARY KEY, v text);
         ALTER TABLE full_key REPLICA IDENTITY FULL;
         CREATE TABLE full_bare (n int, v text);
         ALTER TABLE full_bare REPLICA IDENTITY FULL;
         INSERT INTO composite SELECT n % 5, 'b' || n, date '2020-01-01' + n, 'x' FROM generate_series(1, 40) n;
         INSERT INTO by_index SELECT n, 'c' || n, n % 3, 'x' FROM generate_series(1, 40) n;
         INSERT INTO full_key SELECT n, 'x' FROM generate_series(1, 40) n;
         INSERT INTO full_bare SELECT n / 2, CASE WHEN n % 3 > 0 THEN 'x' END FROM generate_series(1, 40) n",
    );
    for statement in [
        "INSERT INTO composite VALUES (1, 'new', '2000-01-01', NULL); UPDATE composite SET v = 'y' WHERE a = 2",
        "UPDATE composite SET b = b || '!' WHERE a = 3; UPDATE composite SET c = c + 1, v = 'z' WHERE a = 4; DELETE FROM composite WHERE a = 0",
        "UPDATE by_index SET v = 'y' WHERE p < 10; UPDATE by_index SET p = p + 1000 WHERE p BETWEEN 10 AND 15; UPDATE by_index SET code = 'C' || p WHERE p BETWEEN 16 AND 20",
        "DELETE FROM by_index WHERE p > 1010; INSERT INTO by_index VALUES (1, 'dup', 1, '') ON CONFLICT DO NOTHING; INSERT INTO by_index VALUES (500, 'new', 1, '')",
        "UPDATE full_key SET v = NULL WHERE id < 5; UPDATE full_key SET id = id + 100 WHERE id BETWEEN 5 AND 9; DELETE FROM full_key WHERE id BETWEEN 20 AND 25",
        "UPDATE full_bare SET v = 'y' WHERE n = 3; UPDATE full_bare SET n = n + 1 WHERE v IS NULL; DELETE FROM full_bare WHERE n = 7; INSERT INTO full_bare VALUES (1, 'twin'), (1, 'twin'), (NULL, NULL)",
        // One of two equal rows.
        "DELETE FROM full_bare WHERE ctid = (SELECT min(ctid) FROM full_bare WHERE v = 'twin'); UPDATE full_bare SET n = 5 WHERE n IS NULL",
    ] {
        pair.on_source(statement);
    }
    pair.assert_all_equal();
}

#[test]
fn a_full_identity_without_a_key_tells_rows_apart_by_values_that_have_no_equality() {
    let pair = mirroring(
        "CREATE TABLE t (a json, b point, c float8, d numeric, e jsonb, f xid, g text[], h box);
         ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t VALUES ('{\"a\": 1}', '(1,2)', '-0', '1.00', '{\"n\": 1.0}', '7', '{a,NULL}', '(1,1),(0,0)'),
             ('{\"a\":  1}', '(1,2)', '0', '1.0', '{\"n\": 1.00}', '7', '{a,NULL}', '(2,0.5),(0,0)'), (NULL, NULL, 'NaN', 'NaN', NULL, NULL, NULL, NULL)",
    );
    pair.on_source("UPDATE t SET f = '8' WHERE c = 'NaN'");
    pair.on_source(
        "UPDATE t SET f = '9' WHERE d::text = '1.00'; DELETE FROM t WHERE a::text = '{\"a\":  1}'",
    );
    pair.on_source("INSERT INTO t (a) VALUES ('[1, 2]')");
    pair.assert_all_equal();
}

#[test]
fn a_table_without_an_identity_gets_its_inserts_and_says_what_to_do() {
    let pair = mirroring(
        "CREATE TABLE bare (n int, v text); INSERT INTO bare VALUES (1, 'copied');
         CREATE TABLE nothing (id int PRIMARY KEY, v text); ALTER TABLE nothing REPLICA IDENTITY NOTHING; INSERT INTO nothing VALUES (1, 'copied');
         CREATE TABLE sound (id int PRIMARY KEY)",
    );
    pair.on_source("INSERT INTO bare VALUES (2, 'streamed'), (2, 'streamed'); INSERT INTO nothing VALUES (2, 'streamed')");
    pair.assert_all_equal();
    let bare = tables::told(&pair, "bare").expect("it is mirrored");
    assert!(bare.hint.contains("ADD PRIMARY KEY") && bare.hint.contains("REPLICA IDENTITY FULL"), "{bare:?}");
    let nothing = tables::told(&pair, "nothing").expect("it is mirrored");
    assert!(nothing.hint.contains("REPLICA IDENTITY DEFAULT"), "{nothing:?}");
    assert_eq!(tables::told(&pair, "sound").expect("it is mirrored").hint, "");
    pair.on_source("TRUNCATE bare");
    pair.assert_all_equal();
}

/// Every type that can be a key, as the key: updated beside it, changed, deleted.
#[test]
fn keys_of_every_type_find_their_rows() {
    let keys: &[(&str, &[&str])] = &[
        ("int2", &["-32768", "0", "7", "32767"]),
        ("int8", &["-9223372036854775808", "0", "7", "9223372036854775807"]),
        ("text", &["", " ", "a'b\\c\"d", "löng 🦀", "é", "{NULL}"]),
        ("varchar(10)", &["", "x", "x ", "0123456789"]),
        ("char(5)", &["", "a", "ab", "abcde"]),
        ("name", &["", "n", "N"]),
        ("\"char\"", &["a", "b", "c", "d"]),
        ("bytea", &["\\x", "\\x00", "\\x0001ff", "\\x5c27"]),
        ("bool", &["t", "f"]),
        (
            "uuid",
            &[
                "00000000-0000-0000-0000-000000000000",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "ffffffff-ffff-ffff-ffff-ffffffffffff",
            ],
        ),
        ("numeric", &["0", "1.50", "NaN", "-Infinity", "123456789012345678901234567890.123"]),
        ("float4", &["0", "NaN", "Infinity", "1e-30"]),
        ("float8", &["0", "NaN", "-Infinity", "0.1"]),
        ("date", &["-infinity", "0044-03-15 BC", "2024-02-29", "infinity"]),
        ("time", &["00:00", "12:34:56.789", "24:00"]),
        ("timetz", &["00:00+02", "12:34:56.789-05", "24:00+00"]),
        ("timestamp", &["-infinity", "0044-03-15 12:00 BC", "2024-02-29 00:00:00.000001", "infinity"]),
        (
            "timestamptz",
            &["-infinity", "0044-03-15 12:00+00 BC", "2024-02-29 00:00:00.000001+05:30", "infinity"],
        ),
        ("interval", &["0", "1 mon -1 day 00:00:01.5", "-178000000 years", "30 years 5 days"]),
        ("inet", &["10.0.0.1", "10.0.0.1/8", "::1", "fe80::1/10"]),
        ("cidr", &["10.0.0.0/8", "0.0.0.0/0", "::/0"]),
        ("macaddr", &["08:00:2b:01:02:03", "00:00:00:00:00:00"]),
        ("macaddr8", &["08:00:2b:01:02:03:04:05", "00:00:00:00:00:00:00:00"]),
        ("bit(4)", &["0000", "1010", "1111"]),
        ("varbit", &["", "0", "101010101010"]),
        ("money", &["$0.00", "-$1,234.56", "$92233720368547758.07"]),
        ("oid", &["0", "1", "4294967295"]),
        ("pg_lsn", &["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"]),
        ("xid8", &["0", "1", "18446744073709551615"]),
        ("jsonb", &["null", "[]", "{\"a\": [1, 2.50]}", "\"text\""]),
        ("int4[]", &["{}", "{1,NULL}", "[0:1]={1,2}", "{{1,2},{3,4}}"]),
        ("text[]", &["{}", "{\"\",NULL,\"NULL\"}", "{\"a,b\",\"c\\\"d\"}"]),
        ("int4range", &["empty", "(,)", "[1,5)", "[7,)"]),
        ("tsrange", &["empty", "(,)", "[2020-01-01,infinity)"]),
        ("int4multirange", &["{}", "{[1,3),[5,7)}"]),
        ("tsvector", &["", "'a':1 'b':2A"]),
        ("mood", &["sad", "so-so", "it's"]),
        ("pair", &["(1,a)", "(,)", "(2,\"b \\\"c\\\"\")"]),
        ("posint", &["1", "2", "3"]),
        ("weather", &["rain", "sun"]),
    ];
    let mut schema =
        "CREATE TYPE mood AS ENUM ('sad', 'so-so', 'it''s'); CREATE TYPE weather AS ENUM ('rain', 'sun');
        CREATE TYPE pair AS (n int, t text); CREATE DOMAIN posint AS int CHECK (VALUE > 0);"
            .to_owned();
    let mut changes = Vec::new();
    for (number, (name, values)) in keys.iter().enumerate() {
        let rows: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(n, value)| format!("('{}', {n}, 'copied')", value.replace('\'', "''")))
            .collect();
        let last = values[values.len() - 1].replace('\'', "''");
        schema += &format!(
            "CREATE TABLE k{number:02} (k {name} PRIMARY KEY, n int, v text); INSERT INTO k{number:02} VALUES {};",
            rows.join(", ")
        );
        changes.push(format!("UPDATE k{number:02} SET v = 'changed' WHERE n <> 1"));
        changes.push(format!(
            "DELETE FROM k{number:02} WHERE n = {}; INSERT INTO k{number:02} VALUES ('{last}', 100, 'again'); UPDATE k{number:02} SET v = 'and again' WHERE n = 100",
            values.len() - 1
        ));
        changes.push(format!("DELETE FROM k{number:02} WHERE n = 100; UPDATE k{number:02} SET k = '{last}', v = 'moved' WHERE n = 0"));
    }
    let pair = builder().start();
    pair.on_mirror("CREATE TYPE mood AS ENUM ('sad', 'so-so', 'it''s'); CREATE TYPE pair AS (n int, t text); CREATE DOMAIN posint AS int CHECK (VALUE > 0)");
    super::begin(&pair, &schema);
    let mut session = pair.source.connect("odoo");
    for change in changes {
        session.batch_execute(&change).expect("the source takes it");
    }
    pair.caught_up();
    let query = "SELECT string_agg(table_name || ': ' || state || coalesce(': ' || reason, ''), ', ') FROM odoo_mirror.tables() WHERE state <> 'ready'";
    assert_eq!(pair.mirror_value(query), "");
    let rows = |n: usize, schema: &str| format!("SELECT k::text, n, v FROM {schema}k{n:02} ORDER BY n");
    let differ = (0..keys.len()).filter(|n| {
        pair.source.rows("odoo", &rows(*n, "public."))
            != pair.mirror.rows("mirror", &rows(*n, "odoo_mirror."))
    });
    let differ: Vec<&str> = differ.map(|n| keys[n].0).collect();
    assert!(differ.is_empty(), "keys of types {differ:?} lost their rows");
}
