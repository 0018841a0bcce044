#![no_main]

#[path = "../../tests/drift/checks.rs"]
mod checks;
#[path = "../../tests/drift/mirror.rs"]
mod mirror;
#[path = "../../tests/drift/ops.rs"]
mod ops;
#[path = "../../tests/drift/scripted.rs"]
mod scripted;
#[path = "../../tests/drift/source.rs"]
mod source;
#[path = "../../tests/drift/types.rs"]
mod types;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    scripted::history(bytes);
});
