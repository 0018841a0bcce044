//! The statements for mirror tables, run on a real server: what they make is what was wanted.

use crate::harness::Cluster;
use crate::source_catalog::{source, tables};
use odoo_mirror::mirror::ddl::{ColumnHere, KeyHere, Made, TableHere, create_statements, difference};
use odoo_mirror::mirror::shape::MirrorShape;
use odoo_mirror::mirror::source_table::SourceType;
use odoo_mirror::mirror::typemap::TypeHere;

/// The shape of table `t` as it is published now. Its own server is the destination, too.
fn wanted(server: &Cluster) -> MirrorShape {
    let resolver = |of: &SourceType| {
        let (schema, name, modifier) = (&of.schema, &of.name, of.modifier);
        let sql = format!(
            "SELECT format_type(t.oid, {modifier}), typtype, nullif(format_type(nullif(typbasetype, 0), typtypmod), '')
             FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
             WHERE nspname = '{schema}' AND typname = '{name}'"
        );
        let row = server.rows("postgres", &format!("SET search_path = ''; {sql}")).into_iter().next()?;
        let [formatted, kind, base] = row.try_into().expect("three columns");
        Some(TypeHere { formatted: formatted?, kind: kind?.chars().next()?, base, missing_grant: None })
    };
    MirrorShape::of(&tables(server, "p", &[])[0], &resolver).expect("it can be mirrored")
}

fn here(server: &Cluster) -> TableHere {
    let columns = server.rows(
        "postgres",
        "SET search_path = '';
         SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
         WHERE attrelid = 'odoo_mirror.t'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    );
    let key = server.rows(
        "postgres",
        "SELECT conname, attname FROM pg_constraint, unnest(conkey) WITH ORDINALITY k (attnum, position)
         JOIN pg_attribute a USING (attnum)
         WHERE conrelid = 'odoo_mirror.t'::regclass AND contype = 'p' AND attrelid = conrelid ORDER BY position",
    );
    let text = |value: &Option<String>| value.clone().expect("not null");
    TableHere {
        columns: columns
            .iter()
            .map(|row| ColumnHere {
                name: text(&row[0]),
                sql_type: text(&row[1]),
                not_null: text(&row[2]) == "t",
                adorned: text(&row[0]) == "n",
            })
            .collect(),
        key: key.first().map(|first| KeyHere {
            constraint: text(&first[0]),
            columns: key.iter().map(|row| text(&row[1])).collect(),
            ..KeyHere::default()
        }),
    }
}

#[test]
fn a_table_follows_its_source_from_shape_to_shape_with_rows_in_it() {
    let server = source();
    server.sql(
        "postgres",
        "CREATE SCHEMA odoo_mirror; CREATE SCHEMA app;
         CREATE TYPE app.\"Mood\" AS ENUM ('sad'); CREATE DOMAIN app.mark AS numeric(4,1);
         CREATE TYPE app.pair AS (a int, b text);
         CREATE TABLE public.t (
             id int, part text, name varchar(5), \"Or\"\"der\" timestamp(3) with time zone, mood app.\"Mood\",
             moods app.\"Mood\"[], mark app.mark, pair app.pair, kind \"char\", rel regclass, n int,
             PRIMARY KEY (part, id));
         CREATE PUBLICATION p FOR TABLE public.t",
    );
    for statement in create_statements(&wanted(&server)) {
        server.sql("postgres", &statement);
    }
    let mut made = Made::of(&wanted(&server));
    assert!(difference(&here(&server), &made, &wanted(&server)).is_none());
    server.sql(
        "postgres",
        "INSERT INTO odoo_mirror.t (id, part, name, n) VALUES (1, 'a', 'x', 1), (2, 'a', 'y', 2);
         ALTER TABLE odoo_mirror.t ADD mine text NOT NULL DEFAULT 'kept'; CREATE INDEX own ON odoo_mirror.t (n, mine)",
    );

    // (what happens on the source, the rows that keep their name here)
    let steps = [
        ("ALTER TABLE public.t ALTER name TYPE varchar, ALTER n TYPE bigint", "2"),
        ("ALTER TABLE public.t ALTER n TYPE date USING NULL, ADD flag bool, DROP mark, DROP pair", "2"),
        ("ALTER TABLE public.t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id), ALTER part DROP NOT NULL", "2"),
        ("ALTER TABLE public.t ALTER id TYPE bigint", "2"),
        ("ALTER TABLE public.t DROP id", "2"),
    ];
    for (change, kept) in steps {
        server.sql("postgres", change);
        let statements = difference(&here(&server), &made, &wanted(&server)).statements;
        assert!(!statements.is_empty(), "{change}");
        server.sql("postgres", &statements.join(";"));
        made = Made::of(&wanted(&server));
        let left = difference(&here(&server), &made, &wanted(&server));
        assert!(left.is_none(), "{change}: {left:?}");
        assert_eq!(server.value("postgres", "SELECT count(name) FROM odoo_mirror.t"), kept, "{change}");
        let own = "SELECT count(mine) FROM odoo_mirror.t WHERE to_regclass('odoo_mirror.own') IS NOT NULL AND mine = 'kept'";
        assert_eq!(server.value("postgres", own), "2", "{change}");
    }
}
