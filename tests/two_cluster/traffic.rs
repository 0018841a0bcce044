//! Somebody who writes to the source without a pause, and what must hold in the mirror at every
//! moment.

use crate::harness::{Pair, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

/// `journal` has no key: a row that is applied twice is there twice. `tally` counts its rows in the
/// same transactions.
pub const SCHEMA: &str = "
    CREATE TABLE journal (n bigint, note text);
    CREATE TABLE tally (id int PRIMARY KEY, n bigint NOT NULL);
    CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL, note text);
    INSERT INTO tally VALUES (1, 0);
    INSERT INTO account SELECT n, 100, md5(n::text) FROM generate_series(1, 100) n;";

/// How much may pass until a mirror that was hurt shows something new.
const RECOVERY: Duration = Duration::from_secs(60);

/// Writes until it is ended. A source that is down is waited for.
pub struct Traffic {
    over: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Traffic {
    pub fn start(pair: &Pair) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let conninfo = pair.source.conninfo("odoo");
        let writer = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                while !over.load(SeqCst) {
                    // A source that was killed comes back.
                    let _ = write(&conninfo, &over);
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { over, writer: Some(writer) }
    }

    #[track_caller]
    pub fn end(mut self) {
        self.over.store(true, SeqCst);
        let ended = self.writer.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the writer panicked");
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write(conninfo: &str, over: &AtomicBool) -> Result<(), postgres::Error> {
    let mut session = postgres::Client::connect(conninfo, postgres::NoTls)?;
    let mut round = 0;
    while !over.load(SeqCst) {
        round += 1;
        let (from, to) = (1 + round % 100, 1 + round * 7 % 100);
        session.batch_execute(&format!(
            "BEGIN;
             INSERT INTO journal SELECT n + 1, repeat('x', 50) FROM tally;
             UPDATE tally SET n = n + 1;
             UPDATE account SET balance = balance - 1 WHERE id = {from};
             UPDATE account SET balance = balance + 1 WHERE id = {to};
             COMMIT"
        ))?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What the mirror shows of the journal; None while it doesn't answer. Fails when it shows a
/// transaction in part.
#[track_caller]
pub fn shown(pair: &Pair) -> Option<i64> {
    let query = "SELECT (SELECT count(*) FROM odoo_mirror.journal), (SELECT n FROM odoo_mirror.tally),
                        (SELECT sum(balance) FROM odoo_mirror.account)";
    let row = pair.mirror.try_rows("mirror", query).ok()?.pop()?;
    let [rows, tally, balance] = [0, 1, 2].map(|n| row[n].as_ref().and_then(|text| text.parse::<i64>().ok()));
    assert_eq!((rows, balance), (tally, Some(10_000)), "the mirror shows a transaction in part");
    rows
}

/// Does something terrible while rows flow; then all of them must have come, each once.
#[track_caller]
pub fn survives(pair: &Pair, what: &str, terrible: impl FnOnce()) {
    let traffic = Traffic::start(pair);
    let flowing = |more: i64, from: i64| {
        eventually(&format!("{what}: rows flow"), RECOVERY, || shown(pair).filter(|rows| *rows > from + more))
    };
    flowing(20, shown(pair).unwrap_or(0));
    terrible();
    // A crash may take the last commits back, as of any asynchronous commit; they come again.
    let after = eventually(&format!("{what}: the mirror answers"), RECOVERY, || shown(pair));
    flowing(20, after);
    traffic.end();
    pair.caught_up_within(RECOVERY);
    shown(pair);
    for table in ["journal", "tally", "account"] {
        pair.assert_equal(table);
    }
}
