//! Looks at what readers of the mirror see, at any moment, and holds it against the history.

use super::model::{Commit, Marks, Sum};
use super::scene::{Scene, marks_of, rows, sum};
use super::schema::{MARKS, SUMS, TABLES, WRITERS, summed};
use super::shapes;
use crate::harness::{Rng, explain};
use postgres::Client;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

/// A state that was shown: as of which commit, and how many tables could be looked at.
pub struct Shown {
    pub commit: u64,
    pub tables: usize,
}

/// Looks until the run is over.
pub fn keep_looking(scene: &Scene, mut rng: Rng) {
    let mut last: Option<(u64, u64)> = None;
    while !scene.is_over() {
        thread::sleep(Duration::from_millis(rng.number(30..400) as u64));
        let crashes = scene.crashes.load(SeqCst);
        let Some(shown) = look(scene) else { continue };
        scene.shown.store(shown.commit, SeqCst);
        let crashes_then = scene.crashes.load(SeqCst);
        // Readers never go back, unless the mirror's server crashed and lost what it had not
        // flushed.
        if let Some((commit, at)) = last
            && at == crashes_then
            && shown.commit < commit
        {
            scene.wrong(format!("the mirror went back from commit {commit} to {}", shown.commit));
        }
        last = (crashes == crashes_then).then_some((shown.commit, crashes));
    }
}

/// Reads the mirror under one snapshot; None when it can't be read now, or says of nothing that it
/// is right.
pub fn look(scene: &Scene) -> Option<Shown> {
    let mut session = scene.pair.mirror.try_connect("mirror").ok()?;
    match try_look(scene, &mut session) {
        Ok(shown) => shown,
        Err(error) => {
            // A lock, a crash, a time-out that somebody has set: what can't be read tells nothing.
            let code = error.as_db_error().map(|db| db.code().code().to_owned()).unwrap_or_default();
            if !(code.is_empty()
                || ["55P03", "57014", "40P01"].contains(&code.as_str())
                || code.starts_with("57P"))
            {
                scene.wrong(format!("a reader got: {}", explain(&error)));
            }
            None
        }
    }
}

fn try_look(scene: &Scene, session: &mut Client) -> Result<Option<Shown>, postgres::Error> {
    let names: Vec<String> =
        TABLES.iter().map(|table| table.name.to_owned()).chain([MARKS, SUMS].map(str::to_owned)).collect();
    let mut excused = scene.excused();
    session.batch_execute("SET statement_timeout = 0; SET lock_timeout = '3s'")?;
    let there = format!(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'odoo_mirror'::regnamespace AND c.relname IN ('{}') ORDER BY 1",
        names.join("', '")
    );
    let there: Vec<String> = rows(session, &there)?.into_iter().flatten().collect();
    if there.is_empty() {
        return Ok(None);
    }
    // The locks before the snapshot: then the columns are those of the rows, whoever alters tables
    // meanwhile.
    let lock = there.iter().map(|name| format!("odoo_mirror.{name}")).collect::<Vec<_>>().join(", ");
    session.batch_execute(&format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE {lock} IN ACCESS SHARE MODE"
    ))?;
    let ready: Vec<String> =
        rows(session, "SELECT table_name FROM odoo_mirror.tables() WHERE state = 'ready'")?
            .into_iter()
            .flatten()
            .collect();
    let is_ready =
        |name: &str| ready.iter().any(|ready| ready == name) && there.iter().any(|there| there == name);
    if !is_ready(MARKS) {
        return Ok(None);
    }
    let marks = rows(session, "SELECT seq FROM odoo_mirror.marks ORDER BY writer")?;
    if marks.len() != WRITERS {
        scene.wrong(format!("the mirror shows {} marks", marks.len()));
        return Ok(None);
    }
    let marks: Marks = marks_of(&marks);
    let described = shapes::on_mirror(session)?;
    let known = {
        let history = scene.history();
        let noticed = |commit: &Commit| {
            let is_noticed =
                |table: &usize| described.get(table).is_some_and(|it| history.is_noticed(commit, *table, it));
            (commit.shapes.clone(), (0..TABLES.len()).filter(is_noticed).collect::<Vec<_>>())
        };
        history.at(&marks).map(noticed)
    };
    let (shapes, noticed) = match known {
        Ok(known) => known,
        Err(wrong) => {
            scene.wrong(format!("the mirror {wrong}"));
            return Ok(None);
        }
    };
    let mut shown: BTreeMap<usize, Sum> = BTreeMap::new();
    for place in noticed.into_iter().filter(|place| is_ready(TABLES[*place].name)) {
        let columns: Vec<&str> =
            shapes[place].layout.columns.iter().map(|column| column.name.as_str()).collect();
        let query = summed(&columns, &format!("odoo_mirror.{}", TABLES[place].name));
        let row = rows(session, &query)?.remove(0);
        shown.insert(place, sum(&row[0], &row[1]));
    }
    excused.append(&mut scene.excused());
    shown.retain(|place, _| !excused.contains(TABLES[*place].name));
    if is_ready(SUMS) {
        told_sums(scene, session, &shown)?;
    }
    session.batch_execute("COMMIT")?;
    scene.looks.fetch_add(1, SeqCst);
    let judged = scene.history().judge(&marks, &shown);
    match judged {
        Ok(commit) => {
            scene.vouched.fetch_add(shown.len() as u64, SeqCst);
            let mut altered = scene.altered();
            shown.keys().for_each(|table| altered.end(*table, commit));
            Ok(Some(Shown { commit, tables: shown.len() }))
        }
        Err(wrong) => {
            scene.wrong(format!("the mirror {wrong}"));
            Ok(None)
        }
    }
}

/// What the mirrored sums say of the mirrored rows: the same, without the history.
fn told_sums(
    scene: &Scene,
    session: &mut Client,
    shown: &BTreeMap<usize, Sum>,
) -> Result<(), postgres::Error> {
    for row in rows(session, "SELECT tab, sum(n), sum(h)::text FROM odoo_mirror.sums GROUP BY 1")? {
        let place = TABLES.iter().position(|table| table.name == row[0]);
        if let Some(place) = place
            && let Some(found) = shown.get(&place)
            && *found != sum(&row[1], &row[2])
        {
            scene.wrong(format!(
                "{} has {} rows (hash {}), and the mirrored sums say {} ({})",
                row[0], found.0, found.1, row[1], row[2]
            ));
        }
    }
    Ok(())
}
