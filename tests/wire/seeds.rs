//! The fuzzer's seeds, through what the fuzzer checks.

use std::fs;
use std::path::Path;

use odoo_mirror::wire::{decode, decode_frame};

use super::checks;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn the_pgoutput_seeds_hold_every_kind_of_message() {
    let seeds = seeds("pgoutput");
    for seed in &seeds {
        assert!(decode(seed).is_ok());
        checks::message(seed);
    }
    for kind in b"BCORYIUDTM" {
        assert!(seeds.iter().any(|seed| seed[0] == *kind), "no seed for '{}'", *kind as char);
    }
}

#[test]
fn the_frame_seeds_hold_every_kind_of_frame() {
    let seeds = seeds("frame");
    for seed in &seeds {
        assert!(decode_frame(seed).is_ok());
        checks::frame(seed);
    }
    for kind in b"wk" {
        assert!(seeds.iter().any(|seed| seed[0] == *kind), "no seed for '{}'", *kind as char);
    }
}
