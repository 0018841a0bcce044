//! A source that fails to decode its own WAL at one place, whatever is mended since.

use super::{LIMIT, is_healed, mirroring, refusal};
use crate::harness::Pair;

#[test]
fn a_place_in_the_wal_that_the_source_fails_to_decode_is_left_behind() {
    let pair = mirroring(Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1").start());
    pair.on_source("CREATE TABLE f (id int PRIMARY KEY, x text); INSERT INTO f VALUES (1, 'one')");
    pair.on_source("ALTER PUBLICATION odoo_pub_scout ADD TABLE f WHERE (100 / (id - 7) <> 0)");
    pair.wait_table("f", "ready");
    // Whoever writes it notices nothing: the filter is the walsender's to look at.
    pair.on_source("INSERT INTO f VALUES (7, 'seven'); INSERT INTO t (x) VALUES ('after it')");
    pair.mirror.wait_status_within(LIMIT, "it fails", |status| {
        status["last_error"]["message"].as_str().is_some_and(|told| told.contains("division by zero"))
    });
    // That is no help for what was written before.
    pair.on_source("ALTER PUBLICATION odoo_pub_scout SET TABLE t, k, f");
    pair.mirror.wait_status_within(LIMIT, "it is given up", |status| {
        refusal(status, "can't decode its WAL").is_some()
    });
    is_healed(&pair, "stuck", "division by zero");
}
