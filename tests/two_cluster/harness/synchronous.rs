//! Commits that wait for a synchronous standby: they are in the WAL, and streamed, and visible to
//! nobody.

use super::{Cluster, eventually};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

impl Cluster {
    /// Each commit waits from now on. Nobody by that name is there.
    #[track_caller]
    pub fn commits_wait(&self, database: &str) {
        self.sql(database, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
        self.sql(database, "SELECT pg_reload_conf()");
        // The servers' processes hear of it one after the other.
        eventually("a commit waits", LIMIT, || {
            let mut session = self.connect(database);
            let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).expect("it is up").get(0);
            let commit = thread::spawn(move || {
                session.batch_execute("SELECT pg_logical_emit_message(true, 'try', '')")
            });
            let waits = format!("pid = {pid}");
            let began = Instant::now();
            while !commit.is_finished() && !self.waits(database, &waits) && began.elapsed() < LIMIT {
                thread::sleep(Duration::from_millis(5));
            }
            let waited = self.waits(database, &waits);
            // That one is let go.
            self.sql(database, &format!("SELECT pg_cancel_backend({pid})"));
            let _ = commit.join();
            waited.then_some(())
        });
    }

    /// Whether a commit waits of a session for which that holds in pg_stat_activity.
    pub fn waits(&self, database: &str, whose: &str) -> bool {
        let query = format!("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND {whose}");
        !self.rows(database, &query).is_empty()
    }

    /// Those that wait are let go.
    #[track_caller]
    pub fn commits_go_on(&self, database: &str) {
        self.sql(database, "ALTER SYSTEM RESET synchronous_standby_names");
        self.sql(database, "SELECT pg_reload_conf()");
    }
}
