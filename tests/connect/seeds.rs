//! The fuzzer's seeds of a greeting, through what the fuzzer checks; and what damage makes of them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use crate::played;

fn seed(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/greeting");
    fs::read(folder.join(name)).unwrap()
}

fn says(name: &str) -> String {
    match played::greeting(&seed(name)).unwrap() {
        Ok(()) => String::new(),
        Err(error) => error.message,
    }
}

#[test]
fn the_seeds_let_in_and_refuse_in_each_way() {
    for (name, wanted) in [
        ("sql", ""),
        ("replication", ""),
        ("md5", ""),
        ("aside", "no"),
        ("fatal", "no"),
        ("late_fatal", "no"),
        ("scram", "could not prove that it knows the password"),
        ("scram_again", "could not prove that it knows the password"),
        ("cleartext", "in cleartext"),
        ("gss", "a kind of authentication that is not supported"),
        ("negotiate", "unexpected message"),
        ("without_password", "none is configured"),
        ("required", ""),
    ] {
        let says = says(name);
        assert!(says.contains(wanted) && says.is_empty() == wanted.is_empty(), "{name}: {says}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn a_damaged_greeting_does_no_more_than_be_refused(
        name in prop::sample::select(vec!["sql", "replication", "aside", "scram", "md5", "negotiate"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = seed(name);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        played::greeting(&bytes);
    }

    #[test]
    fn a_damaged_catalog_does_no_more_than_be_refused(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        name in prop::sample::select(vec!["plain", "types", "partitioned"]),
    ) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/catalog");
        let mut bytes = fs::read(folder.join(name)).unwrap();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        played::catalog(&bytes);
    }
}
