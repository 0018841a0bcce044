//! SQL-level tests: the extension's objects as a database sees them after CREATE EXTENSION.
//!
//! `cargo pgrx test` runs them inside a server, each in a transaction that is rolled back, with the
//! mirror unconfigured. What needs a source, or a worker that sees what was committed, belongs into
//! tests/two_cluster.
//!
//! `#[pg_test]` calls its function in schema `tests` by name, so each file holds one module `tests`
//! with `#[pg_schema]`: that attribute takes no module whose body is in another file.

use pgrx::prelude::*;

mod column;
mod functions;
mod linter;
mod metrics;
mod mirrored;
mod privileges;
mod progress;
mod quarantine;
mod reading;
mod settings;
mod source;
mod state;

/// The first column of each row, as text; a NULL is the word.
fn column(query: &str) -> Vec<String> {
    Spi::connect_mut(|client| {
        let rows = client.update(&format!("SELECT q.q::text FROM ({query}) q (q)"), None, &[]).expect(query);
        rows.map(|row| row.get::<String>(1).expect("it is text").unwrap_or_else(|| "NULL".to_owned()))
            .collect()
    })
}

/// The one value that the query gives, as text.
#[track_caller]
fn value(query: &str) -> String {
    let values = column(query);
    assert_eq!(values.len(), 1, "one row from {query}");
    values.into_iter().next().unwrap_or_default()
}

fn nothing() -> Vec<String> {
    Vec::new()
}

/// What a statement was refused with.
#[derive(Debug)]
struct Refusal {
    sqlstate: String,
    message: String,
    hint: String,
    /// All that the client gets to see.
    all: String,
}

/// Runs a statement that must fail; what it did is undone.
#[track_caller]
fn refusal(statement: &str) -> Refusal {
    Spi::run(
        "CREATE OR REPLACE FUNCTION pg_temp.refusal(statement text) RETURNS text[] LANGUAGE plpgsql AS $$
         DECLARE state text; message text; hint text; detail text;
         BEGIN
             EXECUTE statement;
             RETURN NULL;
         EXCEPTION WHEN OTHERS THEN
             GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT,
                 detail = PG_EXCEPTION_DETAIL;
             RETURN ARRAY[state, message, hint, detail];
         END $$",
    )
    .expect("a function of ours");
    let said = Spi::get_one_with_args::<Vec<String>>("SELECT pg_temp.refusal($1)", &[statement.into()])
        .expect("errors are caught in there");
    let said = said.unwrap_or_else(|| panic!("this was not refused: {statement}"));
    Refusal {
        sqlstate: said[0].clone(),
        message: said[1].clone(),
        hint: said[2].clone(),
        all: said[1..].join("\n"),
    }
}

/// The extension's own functions, as `f`, each with its schema's name as `schema`.
const FUNCTIONS: &str =
    "(SELECT f.*, n.nspname AS schema FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
    JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'odoo_mirror'
    WHERE n.nspname IN ('odoo_mirror', 'odoo_mirror_internal')) f";
