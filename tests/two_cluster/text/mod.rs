//! Text: what is written of a value is the same whoever writes it, in a copy, in the stream, in a
//! comparison, on either side; whatever the settings, the encoding, the casts and the types of the
//! two databases are.

mod casts;
mod encodings;
mod members;
mod settings;

use crate::comparing::job;
use crate::harness::{Pair, PairBuilder};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// What both sides' output functions are asked under: a session of the test has the database's
/// settings, too.
const ALIKE: &str = "SET lc_monetary = 'C'; SET quote_all_identifiers = off; SET search_path = pg_catalog, public, pg_temp;
    SET DateStyle = 'ISO, MDY'; SET IntervalStyle = postgres; SET TimeZone = 'UTC'; SET extra_float_digits = 3;
    SET bytea_output = hex; SET xmlbinary = base64; ";

fn builder() -> PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1")
}

/// Each published table's rows, as output functions write them, are the same; without columns that
/// only one side has.
#[track_caller]
fn assert_alike(pair: &Pair) {
    pair.caught_up();
    for table in pair.published_tables() {
        let columns = pair.source_value(&format!(
            "SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = to_regclass('public.\"{table}\"') AND attnum > 0 AND NOT attisdropped"
        ));
        // What a row filter leaves out.
        let filter = match table.as_str() {
            "listed" if pair.source.major() >= 15 => "WHERE id <> 7",
            "worded" if pair.source.major() >= 15 => "WHERE k NOT LIKE 'left_out'",
            _ => "",
        };
        let rows = |schema: &str| format!("{ALIKE} SELECT {columns} FROM {schema}.\"{table}\" {filter}");
        let mut there = pair.source.rows("odoo", &rows("public"));
        let mut here = pair.mirror.rows("mirror", &rows("odoo_mirror"));
        there.sort();
        here.sort();
        assert!(!there.is_empty(), "{table}");
        assert_eq!(there, here, "{table}");
    }
}

/// A comparison finds nothing, and a repair writes nothing.
#[track_caller]
fn assert_no_alarm(pair: &Pair) {
    pair.caught_up();
    for call in ["verify(repair => true)", "resync()"] {
        let done = job(pair, call);
        assert_eq!((done.state.as_str(), done.error.as_str()), ("done", ""), "{done:?}");
        for table in pair.published_tables() {
            assert!(done.count(&table, "rows") > 0, "{table} in {done:?}");
            // Asked to be read again, a table without a key is copied.
            if done.result[&table]["copied"] != true {
                assert_eq!(done.count(&table, "different"), 0, "{table} in {done:?}");
            }
        }
    }
    assert_eq!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.failures()"), "0");
}
