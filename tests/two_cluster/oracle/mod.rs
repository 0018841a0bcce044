//! The oracle: a random history on the source, random faults on both sides and between them, and
//! whatever readers of the mirror see is shown to be the source as of one of its commits, at random
//! moments and in the end, row by row.
//!
//! `ODOO_MIRROR_SEED` repeats a run's choices (not the moments at which they meet: run it a few
//! times). With `CHAOS_MINUTES` each test goes on that long, with a new seed for each run: `make
//! chaos`.

mod checker;
mod ddl;
mod disk;
mod faults;
mod model;
mod operator;
mod run;
mod scene;
mod schema;
mod shapes;
mod statements;
mod writers;

use crate::harness::{Pair, PairBuilder};
use faults::Fault;
use run::{Plan, go_on_for_as_long_as_asked};
use scene::Scene;
use std::time::Duration;

#[test]
fn whatever_fails_while_rows_flow_readers_see_the_source_as_of_a_commit() {
    go_on_for_as_long_as_asked(Plan {
        name: "flow",
        seed: 11,
        faults: 20,
        often: Fault::KillMirrorUnwritten,
        copying: false,
        conf: |pair| pair,
    });
}

#[test]
fn whatever_fails_while_tables_are_copied_readers_see_the_source_as_of_a_commit() {
    let conf = |pair: PairBuilder| {
        pair.mirror_conf("odoo_mirror.copy_range_rows", "300").mirror_conf("odoo_mirror.batch_size", "50")
    };
    go_on_for_as_long_as_asked(Plan {
        name: "copy",
        seed: 12,
        faults: 20,
        often: Fault::AdvanceSlot,
        copying: true,
        conf,
    });
}

#[test]
fn whatever_fails_while_tables_are_compared_readers_see_the_source_as_of_a_commit() {
    let conf = |pair: PairBuilder| {
        pair.mirror_conf("odoo_mirror.verify_continuously", "on")
            .mirror_conf("odoo_mirror.verify_period", "20s")
            .mirror_conf("odoo_mirror.compare_rows", "300")
            .mirror_conf("odoo_mirror.compare_share", "100")
    };
    go_on_for_as_long_as_asked(Plan {
        name: "compare",
        seed: 13,
        faults: 20,
        often: Fault::CommitsWait,
        copying: false,
        conf,
    });
}

#[test]
fn a_wrong_row_a_row_too_few_and_a_table_that_is_behind_are_seen() {
    let scene = Scene::new(Pair::start());
    let pair = &scene.pair;
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(Duration::from_secs(60));
    let seen = || {
        let shown = checker::look(&scene);
        (shown.is_some(), scene.found().len())
    };
    assert_eq!(seen(), (true, 0), "{:?}", scene.found());
    let damages = [
        (
            "UPDATE odoo_mirror.t_int SET b = b + 1 WHERE id = 7",
            "UPDATE odoo_mirror.t_int SET b = b - 1 WHERE id = 7",
        ),
        (
            "DELETE FROM odoo_mirror.t_joins WHERE id = 9",
            "INSERT INTO odoo_mirror.t_joins SELECT 9, md5('9'), 9",
        ),
        // As if a commit were shown of which nothing else is there.
        (
            "UPDATE odoo_mirror.marks SET seq = 1 WHERE writer = 2",
            "UPDATE odoo_mirror.marks SET seq = 0 WHERE writer = 2",
        ),
    ];
    for (damage, cure) in damages {
        let before = scene.found().len();
        pair.on_mirror(damage);
        let (vouched, found) = seen();
        assert!(!vouched && found > before, "not seen: {damage}");
        pair.on_mirror(cure);
        assert_eq!(seen(), (true, found), "{:?}", scene.found());
    }
}
