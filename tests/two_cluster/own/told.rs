//! What can't go on without a loss: that table fails, names what is in the way, and loses nothing;
//! it goes on by itself when that is gone.

use super::{LIMIT, builder, ends_equal};
use crate::harness::eventually;

/// One table each: its columns on the source; what somebody does here; what the source does then;
/// what the table says; what is asked of somebody's things before and after; what somebody does to
/// help.
struct Case {
    columns: &'static str,
    own: &'static str,
    change: &'static str,
    told: &'static str,
    kept: &'static str,
    cure: &'static str,
}

/// Every `$` is the case's table.
const CASES: &[Case] = &[
    Case {
        columns: "id int PRIMARY KEY, v int",
        own: "ALTER TABLE odoo_mirror.$ ADD mine text; UPDATE odoo_mirror.$ SET mine = 'note' WHERE id = 1",
        change: "ALTER TABLE $ ADD mine int DEFAULT 3",
        told: "RENAME COLUMN \"mine\"",
        kept: "SELECT mine FROM odoo_mirror.$ WHERE id = 1",
        cure: "ALTER TABLE odoo_mirror.$ RENAME mine TO ours",
    },
    // In the middle of a transaction that changed rows of it before.
    Case {
        columns: "id int PRIMARY KEY, v int",
        own: "ALTER TABLE odoo_mirror.$ ADD mine text; UPDATE odoo_mirror.$ SET mine = 'note' WHERE id = 1",
        change: "BEGIN; UPDATE $ SET v = 5; ALTER TABLE $ ADD mine int; UPDATE $ SET mine = id; COMMIT",
        told: "RENAME COLUMN \"mine\"",
        kept: "SELECT mine FROM odoo_mirror.$ WHERE id = 1",
        cure: "ALTER TABLE odoo_mirror.$ RENAME mine TO ours",
    },
    Case {
        columns: "id int PRIMARY KEY, v int",
        own: "ALTER TABLE odoo_mirror.$ ADD mine int; UPDATE odoo_mirror.$ SET mine = 77 WHERE id = 1",
        change: "ALTER TABLE $ RENAME v TO mine; UPDATE $ SET mine = 9 WHERE id = 2",
        told: "RENAME COLUMN \"mine\"",
        kept: "SELECT mine FROM odoo_mirror.$ WHERE id = 1",
        cure: "ALTER TABLE odoo_mirror.$ RENAME mine TO ours",
    },
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "CREATE INDEX own_$ ON odoo_mirror.$ (w, v)",
        change: "ALTER TABLE $ DROP v",
        told: "index odoo_mirror.own_$",
        kept: "SELECT pg_get_indexdef('odoo_mirror.own_$'::regclass)",
        cure: "DROP INDEX odoo_mirror.own_$",
    },
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "CREATE INDEX own_$ ON odoo_mirror.$ (w) WHERE v > 0",
        change: "ALTER TABLE $ DROP v; UPDATE $ SET w = 3",
        told: "index odoo_mirror.own_$",
        kept: "SELECT pg_get_indexdef('odoo_mirror.own_$'::regclass)",
        cure: "DROP INDEX odoo_mirror.own_$",
    },
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "ALTER TABLE odoo_mirror.$ ADD CONSTRAINT own_$ CHECK (v < 1000 OR w < 1000)",
        change: "BEGIN; ALTER TABLE $ DROP v; ALTER TABLE $ ADD x int; COMMIT",
        told: "constraint own_$",
        kept: "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'own_$'",
        cure: "ALTER TABLE odoo_mirror.$ DROP CONSTRAINT own_$",
    },
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "CREATE STATISTICS public.own_$ ON v, w FROM odoo_mirror.$",
        change: "ALTER TABLE $ DROP w",
        told: "own_$",
        kept: "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxname = 'own_$'",
        cure: "DROP STATISTICS public.own_$",
    },
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "ALTER TABLE odoo_mirror.$ ADD mine int GENERATED ALWAYS AS (v * 2) STORED",
        change: "ALTER TABLE $ DROP v",
        told: "mine",
        kept: "SELECT sum(mine) FROM odoo_mirror.$",
        cure: "ALTER TABLE odoo_mirror.$ DROP mine",
    },
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "ALTER TABLE odoo_mirror.$ ADD mine int GENERATED ALWAYS AS (v * 2) STORED",
        change: "ALTER TABLE $ ALTER v TYPE bigint",
        told: "mine",
        kept: "SELECT sum(mine) FROM odoo_mirror.$",
        cure: "ALTER TABLE odoo_mirror.$ DROP mine",
    },
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "CREATE SEQUENCE odoo_mirror.own_$; ALTER SEQUENCE odoo_mirror.own_$ OWNER TO odoo_mirror_owner;
              ALTER SEQUENCE odoo_mirror.own_$ OWNED BY odoo_mirror.$.v",
        change: "ALTER TABLE $ DROP v",
        told: "sequence odoo_mirror.own_$",
        kept: "SELECT last_value FROM odoo_mirror.own_$",
        cure: "ALTER SEQUENCE odoo_mirror.own_$ OWNED BY NONE",
    },
    // What hangs on it doesn't fit the new type.
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "CREATE INDEX own_$ ON odoo_mirror.$ ((v + 1))",
        change: "ALTER TABLE $ ALTER v TYPE text USING 'text ' || v",
        told: "index odoo_mirror.own_$",
        kept: "SELECT pg_get_indexdef('odoo_mirror.own_$'::regclass)",
        cure: "DROP INDEX odoo_mirror.own_$",
    },
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "CREATE TABLE public.of_$ (t int REFERENCES odoo_mirror.$)",
        change: "ALTER TABLE $ DROP CONSTRAINT $_pkey, ADD PRIMARY KEY (id, v)",
        told: "of_$",
        kept: "SELECT count(*) FROM pg_constraint WHERE conrelid = 'public.of_$'::regclass AND contype = 'f'",
        cure: "DROP TABLE public.of_$",
    },
    // Rows that can't be found again.
    Case {
        columns: "id int PRIMARY KEY, v int, w int",
        own: "ALTER TABLE odoo_mirror.$ ADD mine text; UPDATE odoo_mirror.$ SET mine = 'note' WHERE id = 1",
        change: "ALTER TABLE $ ADD code serial; ALTER TABLE $ DROP CONSTRAINT $_pkey, ADD PRIMARY KEY (code)",
        told: "column \"mine\"",
        kept: "SELECT mine FROM odoo_mirror.$ WHERE id = 1",
        cure: "UPDATE odoo_mirror.$ SET mine = NULL",
    },
    Case {
        columns: "id int, v int",
        own: "ALTER TABLE odoo_mirror.$ ADD mine text, ADD checked bool DEFAULT false; UPDATE odoo_mirror.$ SET mine = 'note' WHERE id = 1",
        change: "ALTER TABLE $ ALTER v TYPE int USING v + 1",
        told: "DROP COLUMN \"mine\"",
        kept: "SELECT mine FROM odoo_mirror.$ WHERE id = 1",
        cure: "ALTER TABLE odoo_mirror.$ DROP mine",
    },
    Case {
        columns: "id int, v int",
        own: "ALTER TABLE odoo_mirror.$ ADD CONSTRAINT own_$ PRIMARY KEY (id)",
        change: "ALTER TABLE $ ADD PRIMARY KEY (v)",
        told: "DROP CONSTRAINT \"own_$\"",
        kept: "SELECT conname FROM pg_constraint WHERE conname = 'own_$'",
        cure: "ALTER TABLE odoo_mirror.$ DROP CONSTRAINT own_$",
    },
    // A table of somebody's that its own is a part or a parent of.
    Case {
        columns: "id int PRIMARY KEY, v int",
        own: "CREATE TABLE public.child_$ () INHERITS (odoo_mirror.$); INSERT INTO public.child_$ VALUES (1, 1)",
        change: "ALTER TABLE $ ADD x int; UPDATE $ SET x = 1",
        told: "child_$",
        kept: "SELECT count(*) FROM public.child_$",
        cure: "ALTER TABLE public.child_$ NO INHERIT odoo_mirror.$",
    },
    Case {
        columns: "id int PRIMARY KEY, v int",
        own: "CREATE TABLE public.all_$ (id int NOT NULL, v int) PARTITION BY RANGE (id);
              ALTER TABLE public.all_$ ATTACH PARTITION odoo_mirror.$ DEFAULT",
        change: "ALTER TABLE $ DROP v; UPDATE $ SET id = -id",
        told: "inherited",
        kept: "SELECT sum(v) FROM public.all_$",
        cure: "ALTER TABLE public.all_$ DETACH PARTITION odoo_mirror.$",
    },
];

#[test]
fn what_would_be_lost_fails_its_table_which_names_it_and_goes_on_when_it_is_out_of_the_way() {
    let named = |place: usize, text: &str| text.replace('$', &format!("t{place}"));
    let schema: Vec<String> = CASES
        .iter()
        .enumerate()
        .map(|(place, case)| {
            let insert = if case.columns.contains('w') { "i, i, i" } else { "i, i" };
            let create = format!(
                "CREATE TABLE $ ({}); INSERT INTO $ SELECT {insert} FROM generate_series(1, 50) i;",
                case.columns
            );
            let keyless = if case.columns.contains("PRIMARY KEY") {
                ""
            } else {
                "ALTER TABLE $ REPLICA IDENTITY FULL;"
            };
            named(place, &(create + keyless))
        })
        .collect();
    let pair = builder().mirroring(&(schema.concat() + "CREATE TABLE other (id int PRIMARY KEY);"));
    let mut kept = Vec::new();
    for (place, case) in CASES.iter().enumerate() {
        pair.on_mirror(&named(place, case.own));
        kept.push(pair.mirror_value(&named(place, case.kept)));
        pair.on_source(&named(place, case.change));
    }
    for (place, case) in CASES.iter().enumerate() {
        let (change, told) = (named(place, case.change), named(place, case.told));
        let says = eventually(&format!("t{place} fails: {change}"), LIMIT, || {
            let query = format!(
                "SELECT coalesce(min(concat_ws(' ', t.reason, t.hint)), '') FROM odoo_mirror.tables() t JOIN odoo_mirror_internal.tables i ON i.name = t.table_name
                 WHERE t.table_name = 't{place}' AND i.failure = 'in_the_way'"
            );
            Some(pair.mirror_value(&query)).filter(|says| !says.is_empty())
        });
        assert!(says.contains(&told) && says.contains("goes on by itself"), "{change}: {says}");
    }
    // The others go on.
    pair.on_source("INSERT INTO other VALUES (1)");
    pair.caught_up_within(LIMIT);
    pair.assert_equal("other");
    for (place, case) in CASES.iter().enumerate() {
        assert_eq!(pair.mirror_value(&named(place, case.kept)), kept[place], "{}", named(place, case.change));
        pair.on_mirror(&named(place, case.cure));
    }
    ends_equal(&pair, "they go on by themselves");
    let ours = "SELECT concat_ws(' ', (SELECT ours FROM odoo_mirror.t0 WHERE id = 1), (SELECT ours FROM odoo_mirror.t1 WHERE id = 1), (SELECT ours FROM odoo_mirror.t2 WHERE id = 1))";
    assert_eq!(pair.mirror_value(ours), "note note 77");
}
