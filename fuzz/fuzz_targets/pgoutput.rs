#![no_main]

#[allow(dead_code)] // frame() is the other target's
#[path = "../../tests/wire/checks.rs"]
mod checks;
#[path = "../../tests/wire/sent.rs"]
mod sent;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::message(bytes));
