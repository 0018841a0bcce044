//! What goes wrong: one fault after the other, chosen by chance. Each is over when the function
//! returns, or passes by itself.

use super::scene::Scene;
use crate::harness::{Cluster, Cut, Rng, Shutdown, signal};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillWorker,
    TerminateWorker,
    CancelWorker,
    KillMirror,
    /// With all that the WAL writer has not written.
    KillMirrorUnwritten,
    StopMirror(Shutdown),
    KillWalsender,
    TerminateAtSource,
    KillSource,
    StopSource(Shutdown),
    Cut(Cut),
    /// Silence, ended by a thaw or by a cut.
    Freeze(Cut),
    Refuse,
    SlowNetwork,
    /// The checkpointer or the WAL writer of either side stands still.
    StallMirror,
    StallSource,
    FullDisk,
    RefusedByTrigger,
    LockTable,
    StatementTimeout,
    CommitsWait,
    StopAndStart,
    Reload,
    Resync,
    Verify,
    LeaveAndJoin,
    DropSlot,
    AdvanceSlot,
}

/// How often each, among all.
const WEIGHTS: [(Fault, u32); 30] = [
    (Fault::KillWorker, 4),
    (Fault::TerminateWorker, 3),
    (Fault::CancelWorker, 1),
    (Fault::KillMirror, 4),
    (Fault::KillMirrorUnwritten, 3),
    (Fault::StopMirror(Shutdown::Immediate), 1),
    (Fault::StopMirror(Shutdown::Fast), 2),
    (Fault::KillWalsender, 3),
    (Fault::TerminateAtSource, 3),
    (Fault::KillSource, 3),
    (Fault::StopSource(Shutdown::Immediate), 1),
    (Fault::StopSource(Shutdown::Fast), 1),
    (Fault::Cut(Cut::Reset), 3),
    (Fault::Cut(Cut::Fin), 2),
    (Fault::Freeze(Cut::Fin), 2),
    (Fault::Freeze(Cut::Reset), 2),
    (Fault::Refuse, 2),
    (Fault::SlowNetwork, 2),
    (Fault::StallMirror, 3),
    (Fault::StallSource, 2),
    (Fault::FullDisk, 3),
    (Fault::RefusedByTrigger, 2),
    (Fault::LockTable, 3),
    (Fault::StatementTimeout, 2),
    (Fault::CommitsWait, 3),
    (Fault::StopAndStart, 3),
    (Fault::Reload, 2),
    (Fault::Resync, 5),
    (Fault::Verify, 5),
    (Fault::LeaveAndJoin, 3),
];

/// The mirror loses its place: everything is compared anew, and until then little can be told.
const LOSSES: [(Fault, u32); 2] = [(Fault::DropSlot, 3), (Fault::AdvanceSlot, 1)];

/// What a plan is about comes this much more often.
const EMPHASIS: u32 = 15;

pub fn choose(rng: &mut Rng, often: Fault) -> Fault {
    let weights: Vec<(Fault, u32)> = WEIGHTS.into_iter().chain(LOSSES).chain([(often, EMPHASIS)]).collect();
    let all: u32 = weights.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.number(0..i64::from(all)) as u32;
    for (fault, weight) in weights {
        if at < weight {
            return fault;
        }
        at -= weight;
    }
    Fault::KillWorker
}

impl Fault {
    pub fn inject(self, scene: &Scene, rng: &mut Rng) {
        let pair = &scene.pair;
        let proxy = pair.proxy.as_ref().expect("there is a proxy");
        let while_ = |rng: &mut Rng, most: i64| Duration::from_millis(rng.number(most / 10..most) as u64);
        match self {
            Self::KillWorker => {
                crashes(scene);
                kill_one(
                    rng,
                    &pair.mirror,
                    "mirror",
                    "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'odoo_mirror%'",
                );
                crashes(scene);
            }
            Self::TerminateWorker => soft(
                &pair.mirror,
                "mirror",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'odoo_mirror%'",
            ),
            Self::CancelWorker => soft(
                &pair.mirror,
                "mirror",
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'odoo_mirror%'",
            ),
            Self::KillMirror => {
                crashes(scene);
                pair.mirror.kill9_postmaster();
                pair.mirror.start();
                crashes(scene);
            }
            Self::KillMirrorUnwritten => {
                crashes(scene);
                let writer = pid(&pair.mirror, "walwriter");
                if let Some(writer) = writer {
                    signal(writer, "STOP");
                }
                // Long enough for a status to reach the source: it must not confirm what is only in
                // memory.
                thread::sleep(Duration::from_millis(rng.number(1200..3000) as u64));
                if let Some(writer) = writer {
                    signal(writer, "KILL");
                }
                pair.mirror.kill9_postmaster();
                pair.mirror.start();
                crashes(scene);
            }
            Self::StopMirror(how) => {
                crashes(scene);
                pair.mirror.stop(how);
                pair.mirror.start();
                crashes(scene);
            }
            Self::KillWalsender => kill_one(
                rng,
                &pair.source,
                "odoo",
                "SELECT active_pid FROM pg_replication_slots WHERE active",
            ),
            Self::TerminateAtSource => soft(
                &pair.source,
                "odoo",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name <> 'test' AND backend_type IN ('client backend', 'walsender')",
            ),
            Self::KillSource => {
                pair.source.kill9_postmaster();
                thread::sleep(while_(rng, 1500));
                pair.source.start();
            }
            Self::StopSource(how) => {
                pair.source.stop(how);
                pair.source.start();
            }
            Self::Cut(how) => proxy.cut(how),
            Self::Freeze(end) => {
                proxy.freeze();
                thread::sleep(while_(rng, 3000));
                if end == Cut::Reset {
                    proxy.cut(end);
                }
                proxy.thaw();
            }
            Self::Refuse => {
                proxy.refuse();
                proxy.cut(Cut::Reset);
                thread::sleep(while_(rng, 2000));
                proxy.welcome();
            }
            Self::SlowNetwork => {
                proxy.slow_down(Duration::from_millis(rng.number(1..15) as u64));
                thread::sleep(while_(rng, 3000));
                proxy.slow_down(Duration::ZERO);
            }
            Self::StallMirror => stall(rng, &pair.mirror),
            Self::StallSource => stall(rng, &pair.source),
            Self::FullDisk => super::disk::full(scene, rng),
            Self::RefusedByTrigger => super::disk::refused(scene, rng),
            Self::LockTable => lock(scene, rng),
            Self::StatementTimeout => statement_timeout(scene, rng),
            Self::CommitsWait => {
                // Nobody by that name is there: commits are in the WAL, streamed perhaps, and
                // visible to nobody.
                soft(&pair.source, "odoo", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
                soft(&pair.source, "odoo", "SELECT pg_reload_conf()");
                thread::sleep(while_(rng, 1000));
                if rng.one_in(2) {
                    // What was streamed and isn't visible there is compared.
                    soft(&pair.mirror, "mirror", "SELECT odoo_mirror.verify(NULL, repair => true)");
                }
                thread::sleep(while_(rng, 2500));
                soft(&pair.source, "odoo", "ALTER SYSTEM RESET synchronous_standby_names");
                soft(&pair.source, "odoo", "SELECT pg_reload_conf()");
            }
            Self::StopAndStart => {
                soft(&pair.mirror, "mirror", "SELECT odoo_mirror.stop()");
                thread::sleep(while_(rng, 1500));
                soft(&pair.mirror, "mirror", "SELECT odoo_mirror.start()");
            }
            Self::Reload => {
                let size = *rng.pick(&["20", "100", "1000"]);
                pair.mirror.set_conf("odoo_mirror.batch_size", size);
                soft(&pair.mirror, "mirror", "SELECT pg_reload_conf()");
            }
            Self::Resync => super::operator::resync(scene, rng),
            Self::Verify => super::operator::verify(scene, rng),
            Self::LeaveAndJoin => super::operator::leave_and_join(scene, rng),
            Self::DropSlot | Self::AdvanceSlot => {
                super::operator::lose_the_slot(scene, self == Self::DropSlot)
            }
        }
    }
}

/// What is shown around this moment may be older than what was shown before.
fn crashes(scene: &Scene) {
    scene.crashes.fetch_add(1, SeqCst);
}

/// A statement that may find the server away.
pub fn soft(cluster: &Cluster, database: &str, sql: &str) {
    let _ = cluster.try_sql(database, sql);
}

fn pids(cluster: &Cluster, database: &str, query: &str) -> Vec<i32> {
    let rows = cluster.try_rows(database, query).unwrap_or_default();
    rows.into_iter().flatten().flatten().filter_map(|pid| pid.parse().ok()).collect()
}

fn pid(cluster: &Cluster, kind: &str) -> Option<i32> {
    pids(cluster, "postgres", &format!("SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}'"))
        .pop()
}

/// kill -9 of one process: the server restarts itself.
fn kill_one(rng: &mut Rng, cluster: &Cluster, database: &str, query: &str) {
    let pids = pids(cluster, database, query);
    if !pids.is_empty() {
        signal(*rng.pick(&pids), "KILL");
        // Until the postmaster has noticed, the server takes connections.
        thread::sleep(Duration::from_millis(100));
        cluster.wait_until_up();
    }
}

/// A disk so slow that a checkpoint, or the WAL writer, makes no progress.
fn stall(rng: &mut Rng, cluster: &Cluster) {
    let kind = *rng.pick(&["checkpointer", "walwriter"]);
    let Some(pid) = pid(cluster, kind) else { return };
    signal(pid, "STOP");
    thread::scope(|scope| {
        let checkpoint = scope.spawn(|| cluster.try_sql("postgres", "CHECKPOINT"));
        thread::sleep(Duration::from_millis(rng.number(300..3500) as u64));
        signal(pid, "CONT");
        let _ = checkpoint.join();
    });
}

fn lock(scene: &Scene, rng: &mut Rng) {
    let table = rng.pick(&super::schema::TABLES).name;
    let mode = *rng.pick(&["SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"]);
    let Ok(mut session) = scene.pair.mirror.try_connect("mirror") else { return };
    let locked = session.batch_execute(&format!(
        "SET lock_timeout = '2s'; BEGIN; LOCK TABLE odoo_mirror.{table} IN {mode} MODE"
    ));
    if locked.is_ok() {
        thread::sleep(Duration::from_millis(rng.number(200..3000) as u64));
    }
}

/// As somebody sets it for a whole database; the mirror's own sessions don't heed it.
fn statement_timeout(scene: &Scene, rng: &mut Rng) {
    let pair = &scene.pair;
    for (cluster, database) in [(&pair.mirror, "mirror"), (&pair.source, "odoo")] {
        soft(cluster, database, &format!("ALTER DATABASE {database} SET statement_timeout = '1ms'"));
    }
    soft(
        &pair.mirror,
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'odoo_mirror%'",
    );
    thread::sleep(Duration::from_millis(rng.number(500..2500) as u64));
    for (cluster, database) in [(&pair.mirror, "mirror"), (&pair.source, "odoo")] {
        // From another database, where it doesn't count.
        soft(cluster, "postgres", &format!("ALTER DATABASE {database} RESET statement_timeout"));
    }
}
