//! A cluster's log: what its server said.

use super::Cluster;
use std::fs;
use std::path::PathBuf;

/// What a server says of its own code, or of ours in it, that left open or held what it should have
/// given back.
const LEFT_OPEN: [&str; 7] = [
    "leak",
    "resource was not closed",
    "still active",
    "transaction left non-empty SPI stack",
    "problem in alloc set",
    "you don't own a lock of type",
    "while in", // AbortTransaction while in …
];

impl Cluster {
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    pub(super) fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let from = log.lines().count().saturating_sub(lines);
        let tail: Vec<&str> = log.lines().skip(from).collect();
        format!("--- the end of {}'s log\n{}\n---", self.name, tail.join("\n"))
    }

    /// Warnings about a relation, a snapshot, a buffer, … that somebody left open: every test fails
    /// that has one.
    pub fn left_open(&self) -> Vec<String> {
        let log = self.log();
        let warnings = log.lines().filter(|line| line.contains(" WARNING: "));
        warnings
            .filter(|line| LEFT_OPEN.iter().any(|words| line.contains(words)))
            .map(str::to_owned)
            .collect()
    }
}
