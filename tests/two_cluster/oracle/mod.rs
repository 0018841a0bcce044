//! The oracle: a random history on the source, random faults on both sides and between them, and whatever readers of the
//! mirror see is shown to be the source as of one of its commits, at random moments and in the end, row by row.
//!
//! `ODOO_MIRROR_SEED` repeats a run's choices (not the moments at which they meet: run it a few times). With `CHAOS_MINUTES` each test goes
//! on that long, with a new seed for each run: `make chaos`.

mod checker;
mod ddl;
mod disk;
mod faults;
mod model;
mod operator;
mod run;
mod scene;
mod schema;
mod statements;
mod writers;

use crate::harness::PairBuilder;
use run::{Plan, go_on_for_as_long_as_asked};

#[test]
fn whatever_fails_while_rows_flow_readers_see_the_source_as_of_a_commit() {
    go_on_for_as_long_as_asked(Plan {
        name: "flow",
        seed: 11,
        faults: 20,
        copying: false,
        conf: |pair| pair,
    });
}

#[test]
fn whatever_fails_while_tables_are_copied_readers_see_the_source_as_of_a_commit() {
    let conf = |pair: PairBuilder| {
        pair.mirror_conf("odoo_mirror.copy_range_rows", "300").mirror_conf("odoo_mirror.batch_size", "50")
    };
    go_on_for_as_long_as_asked(Plan { name: "copy", seed: 12, faults: 20, copying: true, conf });
}

#[test]
fn whatever_fails_while_tables_are_compared_readers_see_the_source_as_of_a_commit() {
    let conf = |pair: PairBuilder| {
        pair.mirror_conf("odoo_mirror.verify_continuously", "on")
            .mirror_conf("odoo_mirror.verify_period", "20s")
            .mirror_conf("odoo_mirror.compare_rows", "300")
            .mirror_conf("odoo_mirror.compare_share", "100")
    };
    go_on_for_as_long_as_asked(Plan { name: "compare", seed: 13, faults: 20, copying: false, conf });
}
