//! What people read: the views and functions on real Odoo tables of each version, and who may read
//! what.

mod aliases;
mod golden;
mod memory;
mod raw;
mod roles;
mod standing;
mod worked_out;

use crate::harness::{Pair, Samples};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

const SIX: [&str; 6] =
    ["account_move", "account_move_line", "res_partner", "project_task", "hr_expense", "hr_expense_sheet"];
const FOR_VIEWS: [&str; 4] = ["hr_employee", "project_project", "project_task_type", "project_task_user_rel"];

/// A mirror of that Odoo version's tables, those of them that it has.
fn odoo(samples: &Samples, version: u32, tables: &[&str]) -> Pair {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    samples.load(&pair.source, "odoo", version);
    mirror(pair, tables)
}

/// A mirror of the source that this project generates itself.
fn generated(tables: &[&str]) -> Pair {
    let pair = Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start();
    for file in ["schema.sql", "generate.sql"] {
        let path = format!("{}/demo/source/{file}", env!("CARGO_MANIFEST_DIR"));
        let out = pair.source.psql("odoo").args(["-f", &path]).output().expect("psql is there");
        assert!(out.status.success(), "{file}: {}", String::from_utf8_lossy(&out.stderr));
    }
    pair.on_source("CALL demo.generate(0.02)");
    // It brings a publication of all ten.
    pair.on_source("DROP PUBLICATION odoo_pub_scout");
    mirror(pair, tables)
}

fn mirror(pair: Pair, tables: &[&str]) -> Pair {
    let there =
        |table: &&&str| !pair.source_value(&format!("SELECT to_regclass('public.{table}')")).is_empty();
    let there: Vec<&str> = tables.iter().filter(there).copied().collect();
    pair.publish(&there.join(", "));
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    pair
}

fn all_ten() -> Vec<&'static str> {
    SIX.into_iter().chain(FOR_VIEWS).collect()
}
