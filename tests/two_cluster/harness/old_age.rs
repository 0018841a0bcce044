//! Sources that have handed out many transaction ids: a fresh cluster is always young.

use super::ClusterBuilder;
use super::installation::{bindir, command, hand_over, run};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

/// How many ids a file of pg_xact is about.
const IDS_A_FILE: u32 = 32 * 8192 * 4;

impl ClusterBuilder {
    /// With transaction ids of this epoch.
    pub fn epoch(mut self, epoch: u32) -> Self {
        self.age = Some((epoch, None));
        self
    }

    /// With transaction ids from there on: of the epoch that is the upper half, and near the wrap
    /// if the lower one is.
    pub fn next_xid(mut self, next: u64) -> Self {
        self.age = Some(((next >> 32) as u32, Some(next as u32)));
        self
    }
}

/// Makes a stopped cluster go on with transaction ids of this epoch, from `next` on if that is
/// given.
///
/// Where the ids leap, what initdb left behind is frozen first, or it would lie in the future.
/// Then all that tells the oldest id is told that it is `next`: pg_control, or the server takes
/// rows away that snapshots still see; and the catalogs, or the first VACUUM after the wrap
/// believes them instead, and takes pg_xact away.
pub(super) fn age(data: &Path, major: u32, epoch: u32, next: Option<u32>) {
    let mut reset = command(bindir(major).join("pg_resetwal"));
    reset.args(["-e", &epoch.to_string()]);
    if let Some(next) = next {
        in_every_database(data, major, &["VACUUM FREEZE"]);
        reset.args(["-x", &next.to_string(), "-u", &next.to_string()]);
        let file = data.join("pg_xact").join(format!("{:04X}", next / IDS_A_FILE));
        if !file.exists() {
            fs::write(&file, vec![0; IDS_A_FILE as usize / 4]).expect("the disk has room");
            hand_over(&file);
        }
    }
    run(reset.arg("-D").arg(data));
    if let Some(next) = next {
        let relations =
            format!("UPDATE pg_catalog.pg_class SET relfrozenxid = '{next}' WHERE relfrozenxid <> '0'");
        let databases = format!("UPDATE pg_catalog.pg_database SET datfrozenxid = '{next}'");
        in_every_database(data, major, &[&relations, &databases]);
    }
}

/// A server that nobody connects to lets a superuser into `template0` too.
fn in_every_database(data: &Path, major: u32, statements: &[&str]) {
    for database in ["template0", "template1", "postgres"] {
        let mut single = command(bindir(major).join("postgres"))
            .args(["--single", "-D"])
            .arg(data)
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("postgres can be run");
        let mut input = single.stdin.take().expect("it is piped");
        for statement in statements {
            writeln!(input, "{statement}").expect("it reads");
        }
        drop(input);
        let output = single.wait_with_output().expect("a child of ours");
        // It goes on after an error.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("ERROR:"), "{database}: {said}");
    }
}
