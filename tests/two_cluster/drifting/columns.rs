//! Changes of columns, each while rows flow into all tables; whether rows had to be compared for
//! it.

use super::{Busy, LIMIT, builder, ends_equal, history, told};
use crate::harness::{Pair, eventually};

struct Kind {
    says: &'static str,
    table: &'static str,
    columns: &'static str,
    /// In one transaction.
    change: &'static str,
    /// Nothing had to be compared.
    followed: bool,
}

const KINDS: &[Kind] = &[
    Kind {
        says: "a column with a constant default is added, and rows that are there have it",
        table: "account_move",
        columns: "name text, state text DEFAULT 'draft', move_type text",
        change: "ALTER TABLE account_move ADD COLUMN kind text DEFAULT 'it''s'; ALTER TABLE account_move ADD COLUMN seven int[] DEFAULT '{7,NULL}'",
        followed: true,
    },
    Kind {
        says: "a column without a default is added",
        table: "hr_expense",
        columns: "name text, date date",
        change: "ALTER TABLE hr_expense ADD COLUMN remark text, ADD COLUMN amount numeric(12,2)",
        followed: true,
    },
    Kind {
        says: "a column with a volatile default is added",
        table: "drawn",
        columns: "note text",
        change: "ALTER TABLE drawn ADD COLUMN drawn float8 DEFAULT random()",
        followed: false,
    },
    Kind {
        says: "a column is dropped that a view shows",
        table: "project_task",
        columns: "name text, priority text DEFAULT '1', date_deadline date DEFAULT '2026-01-01'",
        change: "ALTER TABLE project_task DROP COLUMN date_deadline",
        followed: true,
    },
    Kind {
        says: "a column is renamed that a view shows, and another gets its name",
        table: "res_partner",
        columns: "name text DEFAULT 'somebody', vat text DEFAULT 'BE1', is_company boolean",
        change: "ALTER TABLE res_partner RENAME COLUMN vat TO old_vat; ALTER TABLE res_partner ADD COLUMN vat text DEFAULT 'BE2'",
        followed: true,
    },
    Kind {
        says: "two columns exchange their names",
        table: "exchanged",
        columns: "a text DEFAULT 'a', b text DEFAULT 'b'",
        change: "ALTER TABLE exchanged RENAME a TO c; ALTER TABLE exchanged RENAME b TO a; ALTER TABLE exchanged RENAME c TO b",
        followed: true,
    },
    Kind {
        says: "a varchar becomes a text under a view",
        table: "hr_employee",
        columns: "name varchar(64) DEFAULT 'x'",
        change: "ALTER TABLE hr_employee ALTER COLUMN name TYPE text",
        followed: true,
    },
    Kind {
        says: "a varchar and a numeric become wider",
        table: "wider",
        columns: "a varchar(10) DEFAULT 'x', b numeric(6,2) DEFAULT 1.5",
        change: "ALTER TABLE wider ALTER a TYPE varchar(20), ALTER b TYPE numeric(8,2)",
        followed: true,
    },
    Kind {
        says: "an int becomes a bigint",
        table: "bigger",
        columns: "a int DEFAULT 5",
        change: "ALTER TABLE bigger ALTER a TYPE bigint; UPDATE bigger SET a = 5000000000 WHERE id < 5",
        followed: false,
    },
    Kind {
        says: "a name becomes jsonb under a view",
        table: "project_task_type",
        columns: "name varchar DEFAULT 'Stage'",
        change: "ALTER TABLE project_task_type ALTER name DROP DEFAULT; ALTER TABLE project_task_type ALTER COLUMN name TYPE jsonb USING jsonb_build_object('en_US', name)",
        followed: false,
    },
    Kind {
        says: "a numeric loses precision",
        table: "rounded",
        columns: "a numeric DEFAULT 1.23456",
        change: "ALTER TABLE rounded ALTER a TYPE numeric(10,2)",
        followed: false,
    },
    Kind {
        says: "values are rewritten under the same type",
        table: "rewritten",
        columns: "a text DEFAULT 'x'",
        change: "ALTER TABLE rewritten ALTER a TYPE text USING a || '!'",
        followed: false,
    },
    Kind {
        says: "a column goes and one comes under its name",
        table: "replaced",
        columns: "a text DEFAULT 'old'",
        change: "ALTER TABLE replaced DROP COLUMN a; ALTER TABLE replaced ADD COLUMN a text DEFAULT 'new'",
        followed: false,
    },
    Kind {
        says: "names move up into that of a column that is dropped, and a column is rewritten",
        table: "moved_up",
        columns: "a text DEFAULT 'a', b text DEFAULT 'b', c text DEFAULT 'c'",
        change: "ALTER TABLE moved_up DROP COLUMN c; ALTER TABLE moved_up RENAME b TO c; ALTER TABLE moved_up RENAME a TO b; ALTER TABLE moved_up ALTER n TYPE bigint",
        followed: false,
    },
    Kind {
        says: "what is stored stays, and is written otherwise",
        table: "routine",
        columns: "f regproc DEFAULT 'now'",
        change: "ALTER TABLE routine ALTER f TYPE regprocedure",
        followed: false,
    },
    Kind {
        says: "the key is another column",
        table: "rekeyed",
        columns: "code serial NOT NULL",
        change: "ALTER TABLE rekeyed DROP CONSTRAINT rekeyed_pkey; ALTER TABLE rekeyed ADD PRIMARY KEY (code)",
        followed: false,
    },
    Kind {
        says: "the replica identity is another index",
        table: "identified",
        columns: "code serial NOT NULL UNIQUE",
        change: "ALTER TABLE identified REPLICA IDENTITY USING INDEX identified_code_key",
        followed: false,
    },
];

fn schema() -> String {
    let table = |kind: &Kind| {
        format!(
            "CREATE TABLE {t} (id int PRIMARY KEY, n int, {columns}); INSERT INTO {t} (id, n) SELECT i, i FROM generate_series(1, 300) i;",
            t = kind.table,
            columns = kind.columns
        )
    };
    KINDS.iter().map(table).collect()
}

fn started() -> Pair {
    let pair = builder().start();
    pair.on_source(&schema());
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair
}

/// What was done about each kind. Where nothing had to be compared, the table was ready all the
/// time.
#[track_caller]
fn check(pair: &Pair, busy: Busy) {
    for kind in KINDS {
        let (what, done) = told(pair, kind.table, 0);
        assert_eq!(done.contains("done here too"), kind.followed, "{}: {what}: {done}", kind.says);
    }
    busy.end();
    ends_equal(pair);
    for view in [
        "v_invoice_summary",
        "v_expense_summary",
        "v_task_summary",
        "v_revenue_by_partner",
        "v_expense_by_employee",
    ] {
        pair.on_mirror(&format!("SELECT * FROM odoo_mirror.{view}"));
    }
    let staged = "SELECT count(*) FROM odoo_mirror.project_task_type WHERE name ->> 'en_US' = 'Stage'";
    assert_eq!(
        pair.mirror_value(staged),
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.project_task_type WHERE name IS NOT NULL")
    );
    assert_eq!(
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.v_task_summary WHERE date_deadline IS NOT NULL"),
        "0"
    );
}

#[test]
fn each_change_of_columns_is_followed_while_rows_flow() {
    let pair = started();
    let tables: Vec<&str> = KINDS.iter().map(|kind| kind.table).collect();
    let busy = Busy::with(&pair, &tables);
    for kind in KINDS {
        // Rows before and behind the change, in its own transaction.
        pair.on_source(&format!(
            "BEGIN; UPDATE {t} SET n = 1000 WHERE id = 3; {change}; UPDATE {t} SET n = n + 1 WHERE id BETWEEN 250 AND 260; INSERT INTO {t} (id, n) VALUES (900, 1); COMMIT",
            t = kind.table,
            change = kind.change
        ));
        busy.some_more();
    }
    check(&pair, busy);
}

#[test]
fn each_change_of_columns_is_noticed_without_a_row() {
    let pair = started();
    // Rows flow elsewhere.
    pair.on_source("CREATE TABLE elsewhere (id int PRIMARY KEY, n int); ALTER PUBLICATION odoo_pub_scout ADD TABLE elsewhere");
    pair.wait_ready(LIMIT);
    let busy = Busy::with(&pair, &["elsewhere"]);
    for kind in KINDS {
        pair.on_source(kind.change);
    }
    check(&pair, busy);
}

#[test]
fn schema_and_rows_are_changed_by_turns_in_one_transaction() {
    let pair = started();
    pair.on_source("BEGIN;
        UPDATE hr_expense SET n = 0; ALTER TABLE hr_expense ADD COLUMN a int DEFAULT 1; UPDATE hr_expense SET a = 2 WHERE id < 10;
        SAVEPOINT s; ALTER TABLE hr_expense ADD COLUMN gone int; UPDATE hr_expense SET gone = 1; ROLLBACK TO s;
        ALTER TABLE hr_expense ADD COLUMN b text; UPDATE hr_expense SET b = 'x' WHERE id % 2 = 0; INSERT INTO hr_expense (id, n, a, b) VALUES (5000, 1, 3, 'y');
        ALTER TABLE hr_expense ADD COLUMN c text DEFAULT 'c'; DELETE FROM hr_expense WHERE id = 20; COMMIT");
    pair.on_source("UPDATE hr_expense SET c = 'd' WHERE id = 30");
    ends_equal(&pair);
    let compared =
        history(&pair, "hr_expense").into_iter().filter(|(_, done)| !done.contains("done here too"));
    assert_eq!(compared.collect::<Vec<_>>(), [], "each step is told by the stream");
}

#[test]
fn a_long_run_of_changes_that_the_mirror_sees_late_ends_equal() {
    let pair = started();
    pair.on_mirror("SELECT odoo_mirror.stop()");
    eventually("it stops", LIMIT, || {
        (pair.mirror_value("SELECT odoo_mirror.status() ->> 'state'") == "stopped").then_some(())
    });
    for kind in KINDS {
        pair.on_source(&format!(
            "UPDATE {t} SET n = 7 WHERE id < 20; {c}; UPDATE {t} SET n = 8 WHERE id BETWEEN 10 AND 30",
            t = kind.table,
            c = kind.change
        ));
    }
    // There and back: what the stream brings fits what the catalog says, and isn't the same column.
    pair.on_source("ALTER TABLE wider DROP COLUMN a; ALTER TABLE wider ADD COLUMN a varchar(20) DEFAULT 'again'; UPDATE wider SET a = 'z' WHERE id = 5; ALTER TABLE bigger ADD COLUMN t text DEFAULT 'one'; UPDATE bigger SET t = 'two' WHERE id < 50; ALTER TABLE bigger DROP COLUMN t; ALTER TABLE bigger ADD COLUMN t text DEFAULT 'three'; UPDATE bigger SET n = 0 WHERE id = 60");
    pair.on_mirror("SELECT odoo_mirror.start()");
    ends_equal(&pair);
}
