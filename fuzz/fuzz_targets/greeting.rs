#![no_main]

#[allow(dead_code)] // catalog() is the other target's
#[path = "../../tests/connect/played.rs"]
mod played;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    played::greeting(bytes);
});
