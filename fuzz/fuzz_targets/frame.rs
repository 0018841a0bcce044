#![no_main]

#[path = "../../tests/wire/checks.rs"]
mod checks;
#[path = "../../tests/wire/sent.rs"]
mod sent;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::frame(bytes));
