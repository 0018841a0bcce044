//! What those do who run the mirror, or the source, while it is in use.

use super::faults::soft;
use super::scene::Scene;
use super::schema::TABLES;
use super::shapes::now;
use crate::harness::{Cut, Rng};
use std::thread;
use std::time::{Duration, Instant};

fn some_table(rng: &mut Rng) -> String {
    match rng.number(0..4) {
        0 => "NULL".into(),
        _ => format!("'{}'", rng.pick(&TABLES).name),
    }
}

pub fn resync(scene: &Scene, rng: &mut Rng) {
    soft(&scene.pair.mirror, "mirror", &format!("SELECT odoo_mirror.resync({})", some_table(rng)));
}

/// Nobody but the mirror writes there: whatever a verify() finds is a fault of ours, unless the
/// mirror lost its place.
pub fn verify(scene: &Scene, rng: &mut Rng) {
    let (table, repair) = (some_table(rng), rng.one_in(2));
    soft(&scene.pair.mirror, "mirror", &format!("SELECT odoo_mirror.verify({table}, {repair})"));
}

/// A table leaves the publication, and joins it again a while later.
pub fn leave_and_join(scene: &Scene, rng: &mut Rng) {
    let source = &scene.pair.source;
    let table = *rng.pick(&["t_joins", "t_joins", "t_moving"]);
    let alter = |what: &str| {
        crate::harness::eventually("the publication is altered", Duration::from_secs(60), || {
            let sql =
                format!("SET lock_timeout = '500ms'; ALTER PUBLICATION odoo_pub_scout {what} TABLE {table}");
            match source.try_sql("odoo", &sql) {
                Ok(()) => Some(()),
                // It is so already: the answer of a try before got lost.
                Err(error) => error
                    .as_db_error()
                    .is_some_and(|db| ["42704", "42710"].contains(&db.code().code()))
                    .then_some(()),
            }
        });
    };
    // One that it never knew it can't miss.
    let known = format!("SELECT 1 FROM odoo_mirror.tables() WHERE table_name = '{table}'");
    crate::harness::eventually("the mirror knows the table", Duration::from_secs(90), || {
        scene.pair.mirror.try_rows("mirror", &known).ok()?.pop()
    });
    // The source says nothing of it: until the mirror looks, its table is behind.
    scene.excuse(table, true);
    let before = told(scene, table);
    alter("DROP");
    if rng.one_in(2) {
        // Back before anybody looks, mostly.
        thread::sleep(Duration::from_millis(rng.number(0..500) as u64));
        alter("ADD");
        it_is_noticed(scene, table, &before);
    } else {
        it_is_noticed(scene, table, &before);
        thread::sleep(Duration::from_millis(rng.number(0..3000) as u64));
        alter("ADD");
    }
    scene.excuse(table, false);
}

/// What the mirror has heard of a table: the time of the history's last entry, and what it knows of
/// its being published.
fn told(scene: &Scene, table: &str) -> Option<String> {
    let query = format!(
        "SELECT concat_ws(' ', (SELECT max(at) FROM odoo_mirror.ddl_history() WHERE table_name = '{table}'), definition ->> 'published_as')
         FROM odoo_mirror_internal.tables WHERE name = '{table}'"
    );
    let row = scene.pair.mirror.try_rows("mirror", &query).ok()?.pop()?;
    row.into_iter().next().flatten()
}

fn it_is_noticed(scene: &Scene, table: &str, before: &Option<String>) {
    let begun = Instant::now();
    let is_gone = format!(
        "SELECT 1 FROM odoo_mirror.tables() WHERE table_name = '{table}' AND state = 'failed' AND reason LIKE '%no longer publishes%'"
    );
    crate::harness::eventually("it is noticed that a table left", Duration::from_secs(120), || {
        if told(scene, table).is_some_and(|now| Some(&now) != before.as_ref()) {
            return Some(());
        }
        // A mirror that began anew in that moment says so without an entry; one that says so still
        // has looked since.
        let waited = begun.elapsed() > Duration::from_secs(5);
        let gone = || scene.pair.mirror.try_rows("mirror", &is_gone).is_ok_and(|rows| !rows.is_empty());
        (waited && gone()).then_some(())
    });
    // On disk by now: a crash doesn't take it back.
    thread::sleep(Duration::from_millis(500));
}

/// Somebody drops the slot, or moves it on, while the mirror can't reach it.
pub fn lose_the_slot(scene: &Scene, dropped: bool) {
    let began = now();
    let how = match dropped {
        true => "SELECT pg_drop_replication_slot('odoo_mirror')",
        false => "SELECT pg_replication_slot_advance('odoo_mirror', pg_current_wal_lsn())",
    };
    let proxy = scene.pair.proxy.as_ref().expect("there is a proxy");
    proxy.refuse();
    proxy.cut(Cut::Reset);
    let begun = Instant::now();
    let lost = loop {
        // Whoever reads from it may not have noticed yet.
        soft(
            &scene.pair.source,
            "odoo",
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active",
        );
        if scene.pair.source.try_sql("odoo", how).is_ok() {
            break true;
        }
        if begun.elapsed() > Duration::from_secs(20) {
            break false;
        }
        thread::sleep(Duration::from_millis(20));
    };
    proxy.welcome();
    scene.losses().push((began, now()));
    if !lost {
        scene.tell("  it was not to be had");
    }
}
