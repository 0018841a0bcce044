//! A destination that has no room.

use super::faults::soft;
use super::scene::Scene;
use super::schema::TABLES;
use crate::harness::Rng;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// The kernel refuses the worker to write any file beyond its 16 MB, and writes the last page in half: "disk full" (53100), in the
/// middle of a large transaction. WAL segments are no larger. A worker that is started anew has room again.
pub fn full(scene: &Scene, rng: &mut Rng) {
    const LIMIT: u64 = 16 * 1024 * 1024 + 4096;
    let query = "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'odoo_mirror%'";
    let limit = |soft_limit: &str| {
        let pids = scene.pair.mirror.try_rows("mirror", query).unwrap_or_default();
        for pid in pids.into_iter().flatten().flatten() {
            let done =
                Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={soft_limit}:")]).output();
            assert!(done.is_ok(), "prlimit is there");
        }
    };
    limit(&LIMIT.to_string());
    // Room for it must be asked for.
    let word = rng.text(6);
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS filler (id int PRIMARY KEY, a text); INSERT INTO filler SELECT n, repeat('{word}', 80) FROM generate_series(1, 40000) n
         ON CONFLICT (id) DO UPDATE SET a = excluded.a"
    );
    soft(&scene.pair.source, "odoo", &sql);
    let began = std::time::Instant::now();
    let is_full = || scene.pair.mirror.mirror_status("mirror")["last_error"]["sqlstate"] == "53100";
    while !is_full() && began.elapsed() < Duration::from_secs(40) {
        thread::sleep(Duration::from_millis(50));
    }
    scene.tell(if is_full() { "  the disk is full (53100)" } else { "  nothing hit the limit" });
    thread::sleep(Duration::from_millis(rng.number(100..2000) as u64));
    limit("unlimited");
    soft(&scene.pair.source, "odoo", "DELETE FROM filler");
}

/// A table without room of its own: another tablespace, say.
pub fn refused(scene: &Scene, rng: &mut Rng) {
    let mirror = &scene.pair.mirror;
    let table = rng.pick(&TABLES).name;
    let code = *rng.pick(&["53100", "53200", "40001", "40P01"]);
    let made = mirror.try_sql(
        "mirror",
        &format!(
            "SET lock_timeout = '2s';
             CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{code}'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON odoo_mirror.{table} FOR EACH ROW EXECUTE FUNCTION public.refuse();
             ALTER TABLE odoo_mirror.{table} ENABLE ALWAYS TRIGGER refuse"
        ),
    );
    if made.is_err() {
        return;
    }
    thread::sleep(Duration::from_millis(rng.number(300..2500) as u64));
    let gone = || mirror.try_sql("mirror", &format!("DROP TRIGGER refuse ON odoo_mirror.{table}")).ok();
    crate::harness::eventually("the trigger is gone", Duration::from_secs(60), gone);
}
