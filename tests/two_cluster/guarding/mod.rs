//! Nobody becomes more than he is through the mirror: on a destination with Supabase's roles, where
//! postgres is no superuser.

mod installed;
mod notes;
mod sessions;
mod types;

use crate::harness::{MIRROR, Pair, eventually};
use std::time::Duration;

/// A pair whose mirror has Supabase's roles; the extension was made by supabase_admin, as supautils
/// does it.
fn supabase() -> Pair {
    let pair = Pair::start();
    pair.on_mirror("DROP EXTENSION odoo_mirror CASCADE; DROP SCHEMA odoo_mirror CASCADE");
    pair.mirror.takes_supabases_roles(MIRROR);
    pair.mirror.as_admin(MIRROR, "CREATE EXTENSION odoo_mirror");
    pair
}

/// Configures as the superuser, who may connect without a password, and starts as postgres.
#[track_caller]
fn start(pair: &Pair) {
    pair.mirror.as_admin(MIRROR, &format!("SELECT odoo_mirror.configure('{}')", pair.conninfo()));
    pair.on_mirror("SELECT odoo_mirror.start()");
}

#[track_caller]
fn admin(pair: &Pair, statements: &str) {
    pair.mirror.as_admin(MIRROR, statements);
}

/// A table's state, and why.
#[track_caller]
fn wait_table(pair: &Pair, table: &str, state: &str) -> (String, String) {
    let query = format!(
        "SELECT coalesce(reason, ''), coalesce(hint, '') FROM odoo_mirror.tables() WHERE table_name = '{table}' AND state = '{state}'"
    );
    eventually(&format!("{table} is {state}"), Duration::from_secs(45), || {
        let row = pair.mirror.try_rows(MIRROR, &query).ok()?.into_iter().next()?;
        Some((row[0].clone()?, row[1].clone()?))
    })
}

#[track_caller]
fn assert_nobody_rose(pair: &Pair) {
    let query = "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolsuper";
    assert_eq!(pair.mirror_value(query), "supabase_admin");
}
