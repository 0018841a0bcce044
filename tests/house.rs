//! The house rules that a compiler doesn't check: floors, `unsafe` and its reasons, nothing of one
//! machine.

use std::fs;
use std::path::{Path, PathBuf};

/// A committed text file: its path in the repository, and its lines.
struct Text {
    path: String,
    lines: Vec<String>,
}

impl Text {
    fn under(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    /// `path:line` of the lines that break a rule.
    fn lines_where(&self, breaks: impl Fn(usize, &str) -> bool) -> Vec<String> {
        let numbered = self.lines.iter().enumerate();
        let broken = numbered.filter(|(index, line)| breaks(*index, line));
        broken.map(|(index, line)| format!("{}:{}: {}", self.path, index + 1, line.trim())).collect()
    }
}

fn texts() -> Vec<Text> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(root, root, &mut found);
    assert!(found.iter().any(|text| text.path == "src/lib.rs"), "the walk finds the sources");
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Text>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let generated =
            ["target", ".git", ".demo", ".integrations", "corpus", "artifacts"].contains(&name.as_ref());
        if generated || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.push(Text { path, lines: text.lines().map(str::to_owned).collect() });
        }
    }
}

fn sources() -> Vec<Text> {
    texts().into_iter().filter(|text| text.path.starts_with("src/") && text.path.ends_with(".rs")).collect()
}

/// A line without what follows `//`. Good enough for names of crates and keywords.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn has_word(line: &str, word: &str) -> bool {
    code(line).split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|part| part == word)
}

fn assert_none(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

#[test]
fn the_pure_floor_names_no_higher_one() {
    let floor = ["src/wire/", "src/mirror/", "src/config", "src/error"];
    let higher = |line: &str| {
        let crates =
            ["pgrx", "pgrx_pg_sys", "pg_sys", "tokio", "tokio_postgres", "tokio_rustls", "rustls", "socket2"];
        let names = crates.iter().any(|name| has_word(line, name));
        names || code(line).contains("crate::source") || code(line).contains("crate::pg")
    };
    let texts = sources().into_iter().filter(|text| text.under(&floor));
    let broken = texts.flat_map(|text| text.lines_where(|_, line| higher(line))).collect();
    assert_none(broken, "floor 0 is pure Rust");
}

#[test]
fn the_network_floor_does_not_name_the_server() {
    let higher = |line: &str| {
        ["pgrx", "pgrx_pg_sys", "pg_sys"].iter().any(|name| has_word(line, name))
            || code(line).contains("crate::pg")
    };
    let texts = sources().into_iter().filter(|text| text.under(&["src/source/"]));
    let broken = texts.flat_map(|text| text.lines_where(|_, line| higher(line))).collect();
    assert_none(broken, "floor 1 knows no pgrx");
}

#[test]
fn unsafe_code_is_in_the_shell_alone() {
    let texts = sources().into_iter().filter(|text| !text.under(&["src/pg/"]));
    let broken = texts.flat_map(|text| text.lines_where(|_, line| has_word(line, "unsafe"))).collect();
    assert_none(broken, "no unsafe outside src/pg");
}

#[test]
fn each_unsafe_block_says_why_it_is_sound() {
    /// A reason stands above the statement that the block is in.
    const REACH: usize = 4;
    let texts = sources().into_iter().filter(|text| text.under(&["src/pg/"]));
    let broken = texts
        .flat_map(|text| {
            let explained = |index: usize| {
                text.lines[index.saturating_sub(REACH)..=index].iter().any(|line| line.contains("SAFETY:"))
            };
            let block = |line: &str| {
                has_word(line, "unsafe")
                    && !["unsafe fn", "unsafe extern", "#[unsafe("]
                        .iter()
                        .any(|other| code(line).contains(other))
            };
            text.lines_where(|index, line| block(line) && !explained(index))
        })
        .collect();
    assert_none(broken, "unsafe without a // SAFETY: comment above it");
}

#[test]
fn nothing_committed_names_a_machine_or_a_private_registry() {
    // In pieces, so that this file doesn't name them.
    let homes: Vec<String> =
        ["home", "root", "work", "Users"].iter().map(|folder| format!("/{folder}/")).collect();
    let settings: Vec<String> =
        ["index-url", "extra-index", "replace-with"].iter().map(|name| format!("{name} ")).collect();
    let broken = texts()
        .iter()
        .flat_map(|text| {
            text.lines_where(|_, line| {
                let home = homes.iter().any(|folder| {
                    line.match_indices(folder).any(|(at, _)| {
                        // A path of that folder, not of one that only ends like it.
                        !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}*$".contains(c))
                    })
                });
                let registry = line.trim_start().starts_with("source = \"registry+")
                    && line.trim() != "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
                home || registry || settings.iter().any(|setting| line.contains(setting))
            })
        })
        .collect();
    assert_none(broken, "what only one machine has");
}

#[test]
fn comments_end_at_column_100() {
    let written = |text: &Text| {
        text.under(&["src/", "sql/", "tests/", "pg_test/", "fuzz/", "build.rs"])
            && (text.path.ends_with(".rs") || text.path.ends_with(".sql"))
    };
    let too_wide = |_, line: &str| {
        let comment = line.trim_start();
        (comment.starts_with("//") || comment.starts_with("--")) && line.chars().count() > 100
    };
    let broken =
        texts().iter().filter(|text| written(text)).flat_map(|text| text.lines_where(too_wide)).collect();
    assert_none(broken, "a comment is read at a glance");
}

#[test]
fn a_tables_state_is_written_in_one_file() {
    let states = "src/pg/registry/states.rs";
    let sets = |text: &Text| {
        let all = text.lines.join(" ");
        // The columns after SET, up to the condition.
        let updates = all.split("odoo_mirror_internal.tables").skip(1);
        let mut set =
            updates.filter_map(|rest| rest.trim_start().trim_start_matches("t ").strip_prefix("SET "));
        set.any(|columns| {
            let columns = columns.split(" WHERE ").next().unwrap_or_default();
            ["state = ", "failure = ", "ready_since = ", "drift = "]
                .iter()
                .any(|column| columns.contains(column))
        })
    };
    let rust = sources();
    assert!(rust.iter().any(|text| text.path == states), "{states} is there");
    let broken: Vec<String> =
        rust.iter().filter(|text| text.path != states && sets(text)).map(|text| text.path.clone()).collect();
    assert_none(broken, "the state of a table is written by {states} alone");
    let sql = texts().into_iter().filter(|text| text.path.starts_with("sql/"));
    let broken = sql.filter(sets).map(|text| text.path).collect();
    assert_none(broken, "SQL functions write no state of a table");
}

#[test]
fn each_threat_and_each_promise_names_a_test_that_is_there() {
    let texts = texts();
    let tests: Vec<&Text> = texts
        .iter()
        .filter(|text| text.under(&["tests/", "pg_test/"]) && text.path.ends_with(".rs"))
        .collect();
    let is_there = |name: &str| {
        let signature = format!("fn {name}(");
        tests.iter().any(|text| text.lines.iter().any(|line| line.contains(&signature)))
    };
    for page in ["docs/security.md", "docs/promises.md"] {
        let page = texts.iter().find(|text| text.path == page).expect("the page is there");
        let broken = page.lines_where(|_, line| {
            let row = line.starts_with("| ") && !line.ends_with(" test |");
            let named = line.rsplit('|').nth(1).unwrap_or_default();
            let mut names = named.split('`').skip(1).step_by(2).peekable();
            row && (names.peek().is_none() || !names.all(is_there))
        });
        assert!(page.lines.iter().filter(|line| line.starts_with("| ")).count() > 20);
        assert_none(broken, "what has no test");
    }
}
