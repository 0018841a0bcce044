//! What the two-cluster tests stand on: throw-away servers, a source and a mirror joined, a network
//! that can be cut, and the row-by-row comparison that every scenario ends with. It talks SQL and
//! signals only; it knows nothing of how the extension works inside. Everything blocks: a test
//! reads top to bottom, and takes a thread where it wants two at once.

#![allow(
    dead_code,
    reason = "a scenario takes what it needs; nothing here is dropped because today's don't use it"
)]
#![allow(unused_imports, reason = "likewise")]

mod cluster;
mod cluster_files;
mod cluster_log;
mod compare;
mod directory;
mod installation;
mod locale;
mod old_age;
mod pair;
mod proxy;
mod random;
mod samples;
mod skipping;
mod small_disk;
mod status;
mod supabase;
mod synchronous;
mod world;

pub use cluster::{Cluster, ClusterBuilder, Shutdown, explain};
pub use compare::{Difference, Side, differences};
pub use installation::{default_major, our_uid, source_major};
pub use locale::Locale;
pub use pair::{MIRROR, Pair, PairBuilder};
pub use proxy::{Cut, Proxy};
pub use random::Rng;
pub use samples::{Samples, Transaction};
pub use skipping::{leave_out, skip};
pub use small_disk::SmallDisk;

use std::time::{Duration, Instant};

/// Asks until the answer is there; panics with `what` when it isn't within `limit`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        rest(began);
    }
}

/// Before something is asked once more that was first asked then: each question costs the server a
/// new process, and whoever asks has a machine to share.
fn rest(began: Instant) {
    let rest = began.elapsed() / 10;
    std::thread::sleep(rest.clamp(Duration::from_millis(10), Duration::from_millis(50)));
}

/// Sends a signal by its name (`KILL`, `TERM`, `STOP`, `CONT`); false if there is no such process.
pub fn signal(pid: i32, name: &str) -> bool {
    assert!(pid > 1, "not a process to signal: {pid}");
    let killed = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).output();
    killed.expect("sh is there").status.success()
}
