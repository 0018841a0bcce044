//! The benchmark's clock: starts something, waits until a query on a server says that it shows, and
//! tells how long that took, what CPU it took, and how much memory. Used by bench.sh; a program of
//! its own because a shell is too slow for it.
//!
//! ```text
//! meter wait CONNINFO QUERY COMMAND WHO            → wall_ms cpu_ms private_kb
//! meter lag SOURCE DESTINATION TABLE RATE SECONDS WHO → p50_us p99_us max_us cpu_ms private_kb per_second
//! ```
//!
//! WHO is whose CPU and memory count: the number of a process, or `tree:N` for a postmaster with
//! all that it ever started.

use std::error::Error;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

/// How often `wait` looks. Seldom enough to cost nothing, on a machine whose cores the servers
/// need.
const LOOK: Duration = Duration::from_millis(5);
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(50);
/// Between two looks of `lag`; with the query itself they are 0.2 ms apart.
const GLANCE: Duration = Duration::from_micros(100);
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(600);
/// The start of a lag run, not counted in the lags: plans are made, caches filled.
const WARM_UP: Duration = Duration::from_secs(1);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["wait", server, query, command, who] => wait(server, query, command, &who.parse()?),
        ["lag", source, destination, table, rate, seconds, who] => lag(
            source,
            destination,
            table,
            rate.parse()?,
            Duration::from_secs(seconds.parse()?),
            &who.parse()?,
        ),
        _ => Err("usage: meter wait|lag …, as its head says".into()),
    }
}

/// Runs `command` and waits until `query` gives true.
fn wait(server: &str, query: &str, command: &str, who: &Who) -> Result<()> {
    let mut client = Client::connect(server, NoTls)?;
    let query = client.prepare(query)?;
    let meter = Meter::start(who)?;
    let mut private = who.private_kb();
    let mut sampled = Instant::now();
    let began = Instant::now();
    let mut starter = Command::new("sh").args(["-c", command]).spawn()?;
    let shown = loop {
        let row = client.query_opt(&query, &[])?;
        if row.is_some_and(|row| row.get::<_, Option<bool>>(0) == Some(true)) {
            break began.elapsed();
        }
        if began.elapsed() > PATIENCE {
            return Err("it didn't show within ten minutes".into());
        }
        if sampled.elapsed() >= SAMPLE {
            sampled = Instant::now();
            private = private.max(who.private_kb());
        }
        thread::sleep(LOOK);
    };
    let cpu = meter.cpu_ms()?;
    private = private.max(who.private_kb());
    if !starter.wait()?.success() {
        return Err(format!("failed: {command}").into());
    }
    println!("{:.1} {cpu} {private}", shown.as_secs_f64() * 1000.0);
    Ok(())
}

/// Commits `rate` transactions a second on the source and measures for each how long after the
/// commit's answer the destination shows it.
fn lag(source: &str, destination: &str, table: &str, rate: f64, time: Duration, who: &Who) -> Result<()> {
    let mut writer = Client::connect(source, NoTls)?;
    let mut reader = Client::connect(destination, NoTls)?;
    let write = writer.prepare("SELECT bench.marked_invoice($1)")?;
    let read = reader.prepare(&format!("SELECT n FROM {table} WHERE id = 1"))?;
    let first = reader.query_one(&read, &[])?.get::<_, i64>(0) + 1;
    let count = (rate * time.as_secs_f64()) as i64;
    let done = AtomicBool::new(false);
    let meter = Meter::start(who)?;
    let began = Instant::now();
    let (committed, shown) = thread::scope(|scope| {
        let looking = scope.spawn(|| -> std::result::Result<Vec<Instant>, postgres::Error> {
            let mut shown: Vec<Instant> = Vec::new();
            let mut over: Option<Instant> = None;
            while (shown.len() as i64) < count && over.is_none_or(|over| over.elapsed() < PATIENCE) {
                let n: i64 = reader.query_one(&read, &[])?.get(0);
                let now = Instant::now();
                shown.resize(shown.len().max((n - first + 1).max(0) as usize), now);
                if done.load(Ordering::Relaxed) {
                    over.get_or_insert(now);
                }
                thread::sleep(GLANCE);
            }
            Ok(shown)
        });
        let mut committed = Vec::new();
        let mut wrote = Ok(());
        for i in 0..count {
            let due = began + Duration::from_secs_f64(i as f64 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if let Err(error) = writer.execute(&write, &[&(first + i)]) {
                wrote = Err(error);
                break;
            }
            committed.push(Instant::now());
        }
        done.store(true, Ordering::Relaxed);
        let shown = looking.join().map_err(|_| "the reader panicked")?;
        wrote?;
        Ok::<_, Box<dyn Error>>((committed, shown?))
    })?;
    let cpu = meter.cpu_ms()?;
    if shown.len() < committed.len() {
        return Err(format!("only {} of {} commits showed", shown.len(), committed.len()).into());
    }
    let per_second = committed.len() as f64 / began.elapsed().as_secs_f64();
    let pairs = committed.iter().zip(&shown).filter(|(committed, _)| **committed > began + WARM_UP);
    let mut lags: Vec<u128> =
        pairs.map(|(from, to)| to.saturating_duration_since(*from).as_micros()).collect();
    lags.sort_unstable();
    let quantile =
        |part: f64| lags.get(((lags.len() as f64 - 1.0) * part).round() as usize).copied().unwrap_or(0);
    let (p50, p99, max) = (quantile(0.5), quantile(0.99), quantile(1.0));
    println!("{p50} {p99} {max} {cpu} {} {per_second:.0}", who.private_kb());
    Ok(())
}

/// Whose CPU and memory count.
enum Who {
    One(u32),
    /// A postmaster, its children, and those that ended: copy workers come and go.
    Tree(u32),
}

impl std::str::FromStr for Who {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Who, Self::Err> {
        match text.strip_prefix("tree:") {
            Some(pid) => pid.parse().map(Who::Tree),
            None => text.parse().map(Who::One),
        }
    }
}

impl Who {
    /// User and system time so far, in ms: of all threads.
    fn cpu_ms(&self) -> Result<u64> {
        let gone = || "the process is gone";
        let ticks = match self {
            Who::One(pid) => Stat::read(*pid).ok_or_else(gone)?.own,
            // A child that ends between the two looks would be among neither the living nor the
            // ended: then once more.
            Who::Tree(pid) => loop {
                let before = Stat::read(*pid).ok_or_else(gone)?;
                let living: u64 = children(*pid).filter_map(Stat::read).map(|stat| stat.own).sum();
                let postmaster = Stat::read(*pid).ok_or_else(gone)?;
                if postmaster.ended == before.ended {
                    break postmaster.own + postmaster.ended + living;
                }
            },
        };
        // Linux counts in hundredths of a second, whatever the kernel's own clock.
        Ok(ticks * 10)
    }

    /// Private memory, in kB: what belongs to no file and to no other process.
    fn private_kb(&self) -> u64 {
        match self {
            Who::One(pid) => private_kb(*pid),
            Who::Tree(pid) => children(*pid).map(private_kb).sum(),
        }
    }
}

struct Meter<'a> {
    who: &'a Who,
    before: u64,
}

impl Meter<'_> {
    fn start(who: &Who) -> Result<Meter<'_>> {
        Ok(Meter { who, before: who.cpu_ms()? })
    }

    fn cpu_ms(&self) -> Result<u64> {
        Ok(self.who.cpu_ms()?.saturating_sub(self.before))
    }
}

/// /proc/PID/stat, as far as it is needed.
struct Stat {
    parent: u32,
    /// utime + stime.
    own: u64,
    /// cutime + cstime: of children that ended.
    ended: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Stat> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command may hold blanks; it ends with the last parenthesis.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Stat {
            parent: number(1)? as u32,
            own: number(11)? + number(12)?,
            ended: number(13)? + number(14)?,
        })
    }
}

fn children(parent: u32) -> impl Iterator<Item = u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(move |pid| Stat::read(*pid).is_some_and(|stat| stat.parent == parent))
}

fn private_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
