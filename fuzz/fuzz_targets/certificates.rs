#![no_main]

#[path = "../../tests/certificates/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    checks::certificates(bytes);
});
