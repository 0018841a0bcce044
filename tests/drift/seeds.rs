//! The fuzzer's seeds, through what the fuzzer checks.

use std::fs;
use std::path::Path;

use super::checks::Ended;
use super::scripted::history;

#[test]
fn the_seeds_hold_histories_that_are_followed_and_others_that_are_compared() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/drift");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ended: Vec<_> = paths.map(|path| history(&fs::read(path).unwrap())).collect();
    for wanted in [Ended::Equal, Ended::Compared] {
        assert!(ended.iter().filter(|ended| **ended == Some(wanted)).count() >= 4, "{wanted:?}");
    }
}
