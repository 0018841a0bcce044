//! Those who write to the source. They work at the same time, and commit one after the other, so
//! that what a reader of the mirror may see is known before each commit.

use super::ddl::alter;
use super::model::Sums;
use super::scene::{Scene, marks, rows, sums};
use super::schema::WRITERS;
use super::shapes::{self, Layouts};
use super::statements::{bulk, shrink, statement, truncate};
use crate::harness::Rng;
use postgres::{Client, Error};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

/// How long a writer waits for a source that is down.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Writer<'a> {
    scene: &'a Scene,
    number: usize,
    rng: Rng,
    session: Client,
    prepared: u32,
    /// The open transaction alters a table.
    altering: bool,
    pub commits: u64,
}

impl<'a> Writer<'a> {
    pub fn new(scene: &'a Scene, number: usize, rng: Rng) -> Self {
        let session = connect(scene, number);
        Self { scene, number, rng, session, prepared: 0, altering: false, commits: 0 }
    }

    /// Writes until the run is over; how many transactions were committed.
    pub fn run(mut self) -> u64 {
        while !self.scene.is_over() {
            let done = self.transaction();
            if done.is_err() && self.session.batch_execute("ROLLBACK").is_err() {
                self.come_back();
            }
            let pause = if self.scene.is_far_behind() { 300 } else { 0 };
            thread::sleep(Duration::from_millis(pause + self.rng.number(5..60) as u64));
        }
        self.commits
    }

    /// Long transactions are this one's, so that the others go on beside them.
    fn is_slow(&self) -> bool {
        self.number == WRITERS - 1
    }

    fn transaction(&mut self) -> Result<(), Error> {
        let mode = *self.rng.pick(&["on", "on", "off", "off", "local"]);
        self.session.batch_execute(&format!("BEGIN; SET LOCAL synchronous_commit = {mode}"))?;
        let early = self.rng.one_in(2);
        if early {
            self.mark()?;
        }
        let choice = self.rng.number(0..150);
        self.altering = (11..14).contains(&choice) && !self.scene.calm.load(SeqCst);
        match choice {
            0 => self.session.batch_execute(&bulk(&mut self.rng, 50_000))?,
            1..8 => self.session.batch_execute(&bulk(&mut self.rng, 3_000))?,
            8..10 => self.session.batch_execute(&truncate(&mut self.rng))?,
            10 => self.session.batch_execute(&shrink(&mut self.rng))?,
            _ if self.altering => self.session.batch_execute(&alter(&mut self.rng))?,
            _ => self.statements()?,
        }
        if self.is_slow() {
            self.dawdle(4000);
        }
        if !early {
            self.mark()?;
        }
        match self.rng.number(0..16) {
            0 => self.session.batch_execute("ROLLBACK"),
            1 => self.in_two_phases(),
            _ => self.commit(),
        }
    }

    fn mark(&mut self) -> Result<(), Error> {
        let sql = format!("UPDATE marks SET seq = seq + 1 WHERE writer = {}", self.number);
        self.session.batch_execute(&sql)
    }

    fn statements(&mut self) -> Result<(), Error> {
        let mut savepoints = 0;
        for _ in 0..*self.rng.pick(&[1, 1, 2, 3, 5, 8]) {
            match self.rng.number(0..10) {
                0 => {
                    self.session.batch_execute(&format!("SAVEPOINT s{savepoints}"))?;
                    savepoints += 1;
                }
                1 if savepoints > 0 => {
                    savepoints -= 1;
                    let how = *self.rng.pick(&["ROLLBACK TO", "ROLLBACK TO", "RELEASE"]);
                    self.session.batch_execute(&format!("{how} s{savepoints}"))?;
                }
                _ => {}
            }
            let statement = statement(&mut self.rng);
            if let Err(error) = self.session.batch_execute(&statement) {
                // A lock not given, a deadlock, a key twice: people live with that.
                if savepoints == 0 || self.session.is_closed() {
                    return Err(error);
                }
                self.session.batch_execute("ROLLBACK TO s0")?;
                savepoints = 1;
            }
        }
        Ok(())
    }

    fn dawdle(&mut self, most: i64) {
        let until = Instant::now() + Duration::from_millis(self.rng.number(0..most) as u64);
        while Instant::now() < until && !self.scene.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn commit(&mut self) -> Result<(), Error> {
        let own = self.own()?;
        self.propose_and("COMMIT", own);
        Ok(())
    }

    fn in_two_phases(&mut self) -> Result<(), Error> {
        let own = self.own()?;
        self.prepared += 1;
        let gid = format!("w{}-{}", self.number, self.prepared);
        self.session.batch_execute(&format!("PREPARE TRANSACTION '{gid}'"))?;
        self.dawdle(if self.is_slow() { 3000 } else { 300 });
        if self.rng.one_in(5) {
            return self.session.batch_execute(&format!("ROLLBACK PREPARED '{gid}'"));
        }
        self.propose_and(&format!("COMMIT PREPARED '{gid}'"), own);
        Ok(())
    }

    /// What the open transaction comes to.
    fn own(&mut self) -> Result<(Sums, Layouts), Error> {
        Ok((sums(&mut self.session, self.number)?, shapes::own(&mut self.session)?))
    }

    /// Commits, after all others' commits and before the next.
    fn propose_and(&mut self, commit: &str, (sums, layouts): (Sums, Layouts)) {
        let order = self.scene.order();
        let mut history = self.scene.history();
        for table in history.propose(self.number, sums, layouts, self.altering) {
            self.scene.altered().begin(table, history.commits());
        }
        drop(history);
        match self.session.batch_execute(commit) {
            Ok(()) => self.commits += 1,
            // Whether it was committed, the source tells.
            Err(_) => self.session = connect_and_adopt(self.scene, self.number),
        }
        drop(order);
    }

    /// After the source was away: what it still has counts.
    fn come_back(&mut self) {
        let order = self.scene.order();
        self.session = connect_and_adopt(self.scene, self.number);
        drop(order);
    }
}

fn connect_and_adopt(scene: &Scene, writer: usize) -> Client {
    loop {
        let mut session = connect(scene, writer);
        if let Ok(marks) = marks(&mut session) {
            if let Err(wrong) = scene.history().adopt(marks) {
                scene.wrong(wrong);
            }
            return session;
        }
    }
}

/// A session of that writer, with nothing of his left behind.
fn connect(scene: &Scene, writer: usize) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(session) = try_connect(scene, writer) {
            return session;
        }
        assert!(Instant::now() < deadline, "the source doesn't come back");
        thread::sleep(Duration::from_millis(50));
    }
}

fn try_connect(scene: &Scene, writer: usize) -> Option<Client> {
    let mut session = scene.pair.source.try_connect("odoo").ok()?;
    session
        .batch_execute(&format!(
            "SET lock_timeout = '300ms'; SET oracle.writer = '{writer}'; SET oracle.quiet = 'off'; SET statement_timeout = 0"
        ))
        .ok()?;
    let left = format!("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'w{writer}-%'");
    for gid in rows(&mut session, &left).ok()?.into_iter().flatten() {
        session.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).ok()?;
    }
    Some(session)
}
