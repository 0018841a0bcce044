//! A destination that has no room.

use super::faults::soft;
use super::scene::Scene;
use super::schema::TABLES;
use crate::harness::{Cluster, Rng, SmallDisk, eventually, our_uid};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// A disk that is full: the mirror meets it ("disk full", 53100), and waits until there is room.
pub fn full(scene: &Scene, rng: &mut Rng) {
    let mirror = &scene.pair.mirror;
    match our_uid() {
        0 => {
            let disk = SmallDisk::of(mirror);
            moves(scene, "filler");
            // Over time more of them lie there.
            moves(scene, rng.pick(&TABLES).name);
            disk.is_full();
            is_met(scene, rng, true);
            disk.has_room();
        }
        _ => {
            // The kernel refuses the worker to write any file beyond its 16 MB, no smaller than a
            // WAL segment, and writes the last page in half.
            limit_files(mirror, &(16 * 1024 * 1024 + 4096).to_string());
            is_met(scene, rng, false);
            limit_files(mirror, "unlimited");
        }
    }
    soft(&scene.pair.source, "odoo", "DELETE FROM filler");
}

/// Asks for room, and waits until there is none.
fn is_met(scene: &Scene, rng: &mut Rng, surely: bool) {
    let word = rng.text(6);
    let sql = format!(
        "INSERT INTO filler SELECT n, repeat('{word}', 80) FROM generate_series(1, 40000) n
         ON CONFLICT (id) DO UPDATE SET a = excluded.a"
    );
    soft(&scene.pair.source, "odoo", &sql);
    let is_full = || scene.pair.mirror.mirror_status("mirror")["last_error"]["sqlstate"] == "53100";
    let (began, patience) = (Instant::now(), Duration::from_secs(if surely { 120 } else { 40 }));
    while !is_full() && began.elapsed() < patience {
        thread::sleep(Duration::from_millis(50));
    }
    let met = is_full();
    assert!(met || !surely, "the disk is full, and the mirror doesn't say so");
    scene.tell(if met { "  the disk is full (53100)" } else { "  nothing hit the limit" });
    thread::sleep(Duration::from_millis(rng.number(100..2000) as u64));
}

/// The table lies there from now on, and no vacuum makes room behind our back.
fn moves(scene: &Scene, table: &str) {
    let sql = format!(
        "SET lock_timeout = '2s'; ALTER TABLE odoo_mirror.{table} SET (autovacuum_enabled = off);
         ALTER TABLE odoo_mirror.{table} SET TABLESPACE {}",
        SmallDisk::NAME
    );
    let moved = || scene.pair.mirror.try_sql("mirror", &sql).ok();
    eventually("a table is moved to the small disk", Duration::from_secs(60), moved);
    scene.tell(format_args!("  {table} is on the small disk"));
}

fn limit_files(mirror: &Cluster, soft_limit: &str) {
    let query = "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'odoo_mirror%'";
    for pid in mirror.try_rows("mirror", query).unwrap_or_default().into_iter().flatten().flatten() {
        let limit = format!("--fsize={soft_limit}:");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).output().is_ok(), "prlimit is there");
    }
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
    eventually("the trigger is gone", Duration::from_secs(60), gone);
}
