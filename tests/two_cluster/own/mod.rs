//! What somebody added to a mirrored table stays, with what is kept in it, whatever happens to the
//! table; or the table alone fails, names it, and goes on when it is out of the way.

mod children;
mod new_rows;
mod stays;
mod told;

use crate::harness::{Pair, PairBuilder, eventually};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);

/// The catalog is looked at every second.
fn builder() -> PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1")
}

/// Waits until no table has anything left to do, and all are equal to the source's.
#[track_caller]
fn ends_equal(pair: &Pair, what: &str) {
    pair.caught_up_within(LIMIT);
    let open = "SELECT coalesce(string_agg(concat_ws(' ', table_name, state, reason, hint), E'\\n'), '') FROM odoo_mirror.tables() t
                WHERE state <> 'ready' OR EXISTS (SELECT FROM odoo_mirror_internal.reconciles r WHERE r.table_name = t.table_name)";
    let mut left = String::new();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(what, LIMIT, || {
            left = pair.mirror_value(open);
            left.is_empty().then_some(())
        });
    }));
    assert!(ended.is_ok(), "{what}: {left}");
    pair.assert_all_equal();
}
