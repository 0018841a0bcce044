//! People at work on the source, and people who break things: seeded, many at a time, until told to
//! stop.

use crate::harness::{Cut, Pair, Rng, signal};
use postgres::{Client, NoTls};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Keys are drawn from this many, half of them below zero.
const KEYS: i64 = 900;

/// A table that is written: its name and key columns.
type Written = (&'static str, &'static [&'static str]);

const TABLES: [Written; 6] = [
    ("t_int", &["id"]),
    ("t_big", &["id"]),
    ("t_text", &["k"]),
    ("t_two", &["k1", "k2"]),
    ("t_full", &["id"]),
    ("t_index", &["id"]),
];

/// The tables that the writers write, some rows in each.
pub const SCHEMA: &str = "
    CREATE TABLE t_int (id int PRIMARY KEY, a text, b int, big text);
    CREATE TABLE t_big (id bigint PRIMARY KEY, a text, b int, big text);
    CREATE TABLE t_text (k text PRIMARY KEY, a text, b int, big text);
    CREATE TABLE t_two (k1 int, k2 int, a text, b int, big text, PRIMARY KEY (k1, k2));
    CREATE TABLE t_full (id int PRIMARY KEY, a text, b int, big text);
    ALTER TABLE t_full REPLICA IDENTITY FULL;
    CREATE TABLE t_index (p int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id int NOT NULL UNIQUE, a text, b int, big text);
    ALTER TABLE t_index REPLICA IDENTITY USING INDEX t_index_id_key;
    ALTER TABLE t_int ALTER big SET STORAGE EXTERNAL;
    ALTER TABLE t_big ALTER big SET STORAGE EXTERNAL;
    ALTER TABLE t_text ALTER big SET STORAGE EXTERNAL, ALTER k SET STORAGE EXTERNAL;
    ALTER TABLE t_two ALTER big SET STORAGE EXTERNAL;
    ALTER TABLE t_full ALTER big SET STORAGE EXTERNAL;
    ALTER TABLE t_index ALTER big SET STORAGE EXTERNAL;
    INSERT INTO t_int SELECT n, 'first', 0, CASE WHEN n % 3 = 0 THEN repeat(md5(n::text), 80) END FROM generate_series(-450, 440) n;
    INSERT INTO t_big SELECT n, 'first', 0, CASE WHEN n % 3 = 0 THEN repeat(md5(n::text), 80) END FROM generate_series(-450, 440) n;
    INSERT INTO t_full SELECT n, 'first', 0, CASE WHEN n % 3 = 0 THEN repeat(md5(n::text), 80) END FROM generate_series(-450, 440) n;
    INSERT INTO t_index (id, a, b, big) SELECT n, 'first', 0, CASE WHEN n % 3 = 0 THEN repeat(md5(n::text), 80) END FROM generate_series(-450, 440) n;
    ANALYZE";

/// Threads that write until they are stopped.
pub struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// `writers` people, and one who vacuums and truncates.
    pub fn start(pair: &Pair, rng: &mut Rng, writers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let committed = Arc::new(AtomicU64::new(0));
        let conninfo = pair.source.conninfo("odoo");
        let threads = (0..=writers).map(|number| {
            let (stop, committed, rng, conninfo) =
                (Arc::clone(&stop), Arc::clone(&committed), rng.fork(), conninfo.clone());
            thread::spawn(move || {
                let client = connect(&conninfo);
                let mut writer = Writer { client, rng, number, prepared: 0 };
                while !stop.load(SeqCst) {
                    if number == writers {
                        writer.tend();
                    } else if writer.transaction() {
                        committed.fetch_add(1, SeqCst);
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { stop, committed, threads }
    }

    /// Transactions committed so far.
    pub fn committed(&self) -> u64 {
        self.committed.load(SeqCst)
    }

    /// Ends them, and waits until they have ended; how many transactions they committed.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a writer panicked");
        }
        self.committed()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

fn connect(conninfo: &str) -> Client {
    let mut config: postgres::Config = conninfo.parse().expect("our own conninfo");
    let mut client = config.application_name("test").connect(NoTls).expect("the source is up");
    client.batch_execute("SET lock_timeout = '80ms'").expect("it can be set");
    client
}

struct Writer {
    client: Client,
    rng: Rng,
    number: usize,
    prepared: u32,
}

impl Writer {
    /// True: committed.
    fn transaction(&mut self) -> bool {
        let committed = self.try_transaction();
        if committed.is_err() {
            // A deadlock, a key twice, a lock not given: people live with that.
            self.client.batch_execute("ROLLBACK").expect("the source is up");
        }
        committed.unwrap_or(false)
    }

    fn try_transaction(&mut self) -> Result<bool, postgres::Error> {
        let mode = *self.rng.pick(&["on", "on", "off", "local"]);
        self.client.batch_execute(&format!("BEGIN; SET LOCAL synchronous_commit = {mode}"))?;
        let mut savepoints = 0;
        for _ in 0..*self.rng.pick(&[1, 1, 2, 3, 5, 8]) {
            match self.rng.number(0..10) {
                0 => {
                    self.client.batch_execute(&format!("SAVEPOINT s{savepoints}"))?;
                    savepoints += 1;
                }
                1 if savepoints > 0 => {
                    savepoints -= 1;
                    let how = *self.rng.pick(&["ROLLBACK TO", "ROLLBACK TO", "RELEASE"]);
                    self.client.batch_execute(&format!("{how} s{savepoints}"))?;
                }
                _ => {}
            }
            let statement = self.statement();
            if let Err(error) = self.client.batch_execute(&statement) {
                if savepoints == 0 {
                    return Err(error);
                }
                self.client.batch_execute("ROLLBACK TO s0")?;
                savepoints = 1;
            }
            if self.rng.one_in(200) {
                thread::sleep(Duration::from_millis(self.rng.number(100..700) as u64));
            }
        }
        match self.rng.number(0..12) {
            0 => self.client.batch_execute("ROLLBACK").map(|()| false),
            1 => self.in_two_phases(),
            _ => self.client.batch_execute("COMMIT").map(|()| true),
        }
    }

    fn in_two_phases(&mut self) -> Result<bool, postgres::Error> {
        self.prepared += 1;
        let name = format!("w{}-{}", self.number, self.prepared);
        self.client.batch_execute(&format!("PREPARE TRANSACTION '{name}'"))?;
        thread::sleep(Duration::from_millis(*self.rng.pick(&[0, 0, 0, 20, 300])));
        let commit = !self.rng.one_in(5);
        let verb = if commit { "COMMIT" } else { "ROLLBACK" };
        self.client.batch_execute(&format!("{verb} PREPARED '{name}'"))?;
        Ok(commit)
    }

    fn statement(&mut self) -> String {
        let (table, key) = *self.rng.pick(&TABLES);
        let (row, other) = (self.key(table), self.key(table));
        let at = |values: &[String]| {
            let terms: Vec<String> =
                key.iter().zip(values).map(|(column, value)| format!("{column} = {value}")).collect();
            terms.join(" AND ")
        };
        let columns = key.join(", ");
        let word = self.rng.text(8);
        let kind = self.rng.number(0..100);
        let big = self.big();
        let insert = format!(
            "INSERT INTO {table} ({columns}, a, b, big) VALUES ({}, '{word}', 1, {big})",
            row.join(", ")
        );
        match kind {
            0..22 => format!("{insert} ON CONFLICT DO NOTHING"),
            22..30 => {
                format!("{insert} ON CONFLICT ({columns}) DO UPDATE SET a = excluded.a, b = {table}.b + 1")
            }
            // The big text stays as it is, out of line.
            30..52 => format!("UPDATE {table} SET a = '{word}', b = b + 1 WHERE {}", at(&row)),
            52..60 => format!("UPDATE {table} SET big = {big} WHERE {}", at(&row)),
            60..80 => {
                let set: Vec<String> =
                    key.iter().zip(&other).map(|(column, value)| format!("{column} = {value}")).collect();
                let more = if self.rng.one_in(2) { format!(", a = '{word}'") } else { String::new() };
                format!(
                    "UPDATE {table} SET {}{more} WHERE {} AND NOT EXISTS (SELECT FROM {table} WHERE {})",
                    set.join(", "),
                    at(&row),
                    at(&other)
                )
            }
            80..93 => format!("DELETE FROM {table} WHERE {}", at(&row)),
            93..96 => format!("DELETE FROM {table} WHERE {}; {insert}", at(&row)),
            _ if table == "t_text" => {
                format!("UPDATE t_text SET b = b + 1 WHERE length(k) < {}", self.rng.number(4..8))
            }
            _ => {
                let from = self.rng.number(-KEYS / 2..KEYS / 2);
                format!("UPDATE {table} SET b = b + 1 WHERE {} BETWEEN {from} AND {}", key[0], from + 10)
            }
        }
    }

    /// Literals of a row's key.
    fn key(&mut self, table: &str) -> Vec<String> {
        let number = self.rng.number(-KEYS / 2..KEYS / 2);
        match table {
            // Some so long that they are stored out of line themselves.
            "t_text" if number % 7 == 0 => vec![format!("'K{number}{}'", "z".repeat(2300))],
            "t_text" => vec![format!("'K{number}'")],
            "t_two" => vec![(number / 30).to_string(), (number % 30).to_string()],
            _ => vec![number.to_string()],
        }
    }

    fn big(&mut self) -> String {
        match self.rng.number(0..10) {
            0..6 => "NULL".into(),
            6..9 => {
                format!("'{}' || repeat(md5(random()::text), {})", self.rng.text(6), self.rng.number(70..120))
            }
            _ => format!("repeat('{}', 2000)", self.rng.text(6)),
        }
    }

    /// What an administrator does.
    fn tend(&mut self) {
        // Not so often that a copy, which begins a rewritten table anew, never ends.
        thread::sleep(Duration::from_millis(self.rng.number(300..2000) as u64));
        let (table, other) = (self.rng.pick(&TABLES).0, self.rng.pick(&TABLES).0);
        let statement = match self.rng.number(0..20) {
            0..6 => format!("VACUUM FULL {table}"),
            6..9 => format!("VACUUM {table}"),
            9..11 => format!("TRUNCATE {table}"),
            11 => format!("TRUNCATE {table}, {other}"),
            12 => format!("BEGIN; TRUNCATE {table}; INSERT INTO {table} SELECT * FROM {table}; ROLLBACK"),
            13 => format!("CREATE INDEX ON {table} (b)"),
            14 => format!("ANALYZE {table}"),
            15 => format!("UPDATE {table} SET b = b + 1"),
            _ => "CHECKPOINT".into(),
        };
        if self.client.batch_execute(&statement).is_err() {
            self.client.batch_execute("ROLLBACK").expect("the source is up");
        }
    }
}

/// Breaks one thing: a process of the mirror, the whole mirror, or its connections.
pub fn break_something(pair: &Pair, rng: &mut Rng) {
    match rng.number(0..10) {
        0 => {
            pair.mirror.kill9_postmaster();
            pair.mirror.start();
        }
        1..4 => {
            let query = "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'odoo_mirror%'";
            let pids: Vec<String> = pair
                .mirror
                .try_rows("mirror", query)
                .unwrap_or_default()
                .into_iter()
                .flatten()
                .flatten()
                .collect();
            if !pids.is_empty() {
                signal(rng.pick(&pids).parse().expect("a pid"), "KILL");
            }
            pair.mirror.wait_until_up();
        }
        4..6 => {
            let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'odoo_mirror%'";
            let _ = pair.mirror.try_sql("mirror", query);
        }
        6..8 => {
            let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name <> 'test' AND backend_type IN ('client backend', 'walsender')";
            let _ = pair.source.try_sql("odoo", query);
        }
        _ => {
            let how = *rng.pick(&[Cut::Fin, Cut::Reset]);
            if let Some(proxy) = &pair.proxy {
                proxy.cut(how);
            }
        }
    }
}
