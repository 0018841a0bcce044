//! The fuzzer's seeds, through what the fuzzer checks; and what damage makes of them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::any::stream;
use super::scripted::batches;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_seeds_hold_streams_for_tables_of_each_standing() {
    let seeds = seeds("assembler");
    for standing in 0..4 {
        assert!(seeds.iter().any(|seed| seed[0] & 3 == standing), "no seed for standing {standing}");
    }
    assert!(seeds.iter().all(|seed| stream(seed) > 0), "each seed changes something");
}

#[test]
fn the_seeds_of_histories_hold_several_transactions_each() {
    let seeds = seeds("fold");
    assert!(seeds.len() >= 8 && seeds.iter().all(|seed| batches(seed) > 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_stream_does_no_more_than_be_refused(
        seed in prop::sample::select(seeds("assembler")),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        doubled in any::<bool>(),
    ) {
        let mut bytes = seed;
        if doubled {
            let again = bytes[1..].to_vec();
            bytes.extend(again);
        }
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        stream(&bytes);
    }
}
