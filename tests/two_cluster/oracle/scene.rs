//! What a run's threads share: the two servers, the history so far, and what was seen.

use super::model::{History, Marks, Sum, Sums};
use super::schema::{TABLES, WRITERS, schema};
use super::shapes::{self, Excuses};
use crate::harness::Pair;
use postgres::{Client, SimpleQueryMessage};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

pub struct Scene {
    pub pair: Pair,
    history: Mutex<History>,
    /// Held over each commit: so commits have an order, and a doubtful one is cleared up before the
    /// next.
    order: Mutex<()>,
    over: AtomicBool,
    began: Instant,
    told: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    excused: Mutex<BTreeSet<&'static str>>,
    left: Mutex<BTreeSet<&'static str>>,
    altered: Mutex<Excuses>,
    /// Nobody alters tables now.
    pub calm: AtomicBool,
    /// When somebody touched the slot, in seconds since 1970: what is compared then may differ.
    losses: Mutex<Vec<(f64, f64)>>,
    /// How often the mirror may have forgotten commits that it had not flushed.
    pub crashes: AtomicU64,
    pub looks: AtomicU64,
    /// How many tables were vouched for, over all looks.
    pub vouched: AtomicU64,
    /// The last commit that was shown.
    pub shown: AtomicU64,
}

impl Scene {
    /// Two servers, the source with its first rows; nothing is published yet.
    pub fn new(pair: Pair) -> Self {
        pair.on_source(&schema());
        let mut session = pair.source.connect("odoo");
        let marks = marks(&mut session).expect("it is up");
        let sums = std::array::from_fn(|writer| sums(&mut session, writer).expect("it is up"));
        let shapes = shapes::all(&mut session).expect("it is up");
        Self {
            pair,
            history: Mutex::new(History::new(marks, sums, shapes)),
            order: Mutex::new(()),
            over: AtomicBool::new(false),
            began: Instant::now(),
            told: Mutex::new(Vec::new()),
            wrong: Mutex::new(Vec::new()),
            excused: Mutex::new(BTreeSet::new()),
            left: Mutex::new(BTreeSet::new()),
            altered: Mutex::new(Excuses::default()),
            calm: AtomicBool::new(false),
            losses: Mutex::new(Vec::new()),
            crashes: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            vouched: AtomicU64::new(0),
            shown: AtomicU64::new(0),
        }
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    /// Tables that were altered, and not shown since.
    pub fn altered(&self) -> MutexGuard<'_, Excuses> {
        lock(&self.altered)
    }

    pub fn losses(&self) -> MutexGuard<'_, Vec<(f64, f64)>> {
        lock(&self.losses)
    }

    pub fn order(&self) -> MutexGuard<'_, ()> {
        lock(&self.order)
    }

    /// The mirror is so far behind that it couldn't show in time what is written now: on a machine
    /// that others use too.
    pub fn is_far_behind(&self) -> bool {
        self.history().commits() > self.shown.load(SeqCst) + 300
    }

    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    pub fn end(&self) {
        self.over.store(true, SeqCst);
    }

    /// Notes what is done, for whoever reads of a failure.
    pub fn tell(&self, what: impl std::fmt::Display) {
        let line = format!("{:7.2} s  {what}", self.began.elapsed().as_secs_f64());
        if std::env::var_os("CHAOS_MINUTES").is_some() {
            println!("{line}");
        }
        lock(&self.told).push(line);
    }

    pub fn told(&self) -> String {
        lock(&self.told).join("\n")
    }

    /// Notes what must not be; the run fails.
    pub fn wrong(&self, what: impl std::fmt::Display) {
        self.tell(format!("WRONG: {what}"));
        lock(&self.wrong).push(what.to_string());
    }

    /// Of these tables nothing is expected, whatever the mirror says of them.
    pub fn excused(&self) -> BTreeSet<&'static str> {
        lock(&self.excused).clone()
    }

    pub fn excuse(&self, table: &'static str, excused: bool) {
        let mut all = lock(&self.excused);
        if excused {
            lock(&self.left).insert(table);
            all.insert(table);
        } else {
            all.remove(table);
        }
    }

    /// Tables that were excused at any time.
    pub fn left(&self) -> BTreeSet<&'static str> {
        lock(&self.left).clone()
    }

    pub fn found(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what was done:\n{}\nstatus: {}", self.told(), self.pair.status());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A query's rows as text, NULL as an empty string.
pub fn rows(session: &mut Client, query: &str) -> Result<Vec<Vec<String>>, postgres::Error> {
    let messages = session.simple_query(query)?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// The writers' marks, as the source shows them.
pub fn marks(session: &mut Client) -> Result<Marks, postgres::Error> {
    Ok(marks_of(&rows(session, "SELECT seq FROM marks ORDER BY writer")?))
}

pub fn marks_of(rows: &[Vec<String>]) -> Marks {
    let mut marks = [0; WRITERS];
    for (mark, row) in marks.iter_mut().zip(rows) {
        *mark = row[0].parse().expect("a number");
    }
    marks
}

/// What a writer's transactions came to, this one's too.
pub fn sums(session: &mut Client, writer: usize) -> Result<Sums, postgres::Error> {
    let mut sums = [(0, 0); TABLES.len()];
    for row in rows(session, &format!("SELECT tab, n, h FROM sums WHERE writer = {writer}"))? {
        let table = TABLES.iter().position(|table| table.name == row[0]).expect("a table of ours");
        sums[table] = sum(&row[1], &row[2]);
    }
    Ok(sums)
}

pub fn sum(rows: &str, hash: &str) -> Sum {
    (rows.parse().expect("a number"), hash.parse().expect("a number"))
}
