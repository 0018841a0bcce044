//! Reads the captured bytes: a file a scenario, a message a line, in hex.

use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(bytes).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// The messages of one scenario, such as `insert.text`.
pub fn scenario(name: &str) -> Vec<Vec<u8>> {
    lines(&root().join(format!("pgoutput/{name}.hex")))
}

/// The first message of that kind in a scenario.
pub fn message(name: &str, kind: u8) -> Vec<u8> {
    scenario(name).into_iter().find(|message| message[0] == kind).unwrap()
}

/// Every captured message.
pub fn messages() -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(root().join("pgoutput"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .collect();
    files.sort();
    files.iter().flat_map(|path| lines(path)).collect()
}

/// Every captured frame.
pub fn frames() -> Vec<Vec<u8>> {
    lines(&root().join("replication/frames.hex"))
}
