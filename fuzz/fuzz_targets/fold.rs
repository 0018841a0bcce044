#![no_main]

#[path = "../../tests/assembler/drive.rs"]
mod drive;
#[path = "../../tests/assembler/fed.rs"]
mod fed;
#[allow(dead_code)]
#[path = "../../tests/assembler/history.rs"]
mod history;
#[allow(dead_code)] // some of it is the tests' only
#[path = "../../tests/assembler/mirror.rs"]
mod mirror;
#[path = "../../tests/assembler/scripted.rs"]
mod scripted;
#[path = "../../tests/wire/sent.rs"]
mod sent;
#[allow(dead_code)]
#[path = "../../tests/assembler/source.rs"]
mod source;
#[allow(dead_code)]
#[path = "../../tests/assembler/tables.rs"]
mod tables;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    scripted::batches(bytes);
});
