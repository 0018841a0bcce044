#![no_main]

#[path = "../../tests/assembler/any.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    any::stream(bytes);
});
