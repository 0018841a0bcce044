//! A server of its own for a test: started in a moment, killed in many ways, gone at the end.

use super::installation::{self, bindir, command};
use super::{directory, eventually, old_age, signal};
use postgres::{Client, NoTls, SimpleQueryMessage};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(60);

/// As pg_ctl names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    Smart,
    Fast,
    Immediate,
}

/// What a cluster is to be, before it starts.
pub struct ClusterBuilder {
    name: String,
    pub(super) major: u32,
    fsync: bool,
    anew: bool,
    /// Its epoch, and its next transaction id in it.
    pub(super) age: Option<(u32, Option<u32>)>,
    conf: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl ClusterBuilder {
    /// Shows in the directory's name and in what is printed on failure.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub fn major(mut self, major: u32) -> Self {
        self.major = major;
        self
    }

    /// A line of postgresql.conf; later ones win.
    pub fn conf(mut self, setting: &str, value: &str) -> Self {
        self.conf.push((setting.into(), value.into()));
        self
    }

    /// A variable in the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Loads the extension at server start; its worker lives in database `database`.
    pub fn preload(self, database: &str) -> Self {
        self.conf("shared_preload_libraries", "odoo_mirror").conf("odoo_mirror.database", database)
    }

    /// Really flush. Off otherwise: the tests kill processes, never the machine, and the kernel
    /// keeps what was written.
    pub fn fsync(mut self) -> Self {
        self.fsync = true;
        self
    }

    /// With a system identifier that no other cluster has.
    pub fn initialised_anew(mut self) -> Self {
        self.anew = true;
        self
    }

    #[track_caller]
    pub fn start(self) -> Cluster {
        let create = if self.anew { directory::create_anew } else { directory::create };
        let directory = create(&self.name, self.major);
        if let Some((epoch, next)) = self.age {
            old_age::age(&directory.join("data"), self.major, epoch, next);
        }
        let cluster = Cluster {
            name: self.name,
            major: self.major,
            bindir: bindir(self.major),
            directory,
            port: free_port(),
            environment: self.environment,
            postmaster: Mutex::new(None),
        };
        let mut settings: Vec<(String, String)> = [
            ("listen_addresses", "127.0.0.1"),
            ("fsync", if self.fsync { "on" } else { "off" }),
            ("shared_buffers", "64MB"),
            ("max_connections", "60"),
            ("max_worker_processes", "16"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("log_line_prefix", "%m [%p] %b %a: "),
        ]
        .map(|(setting, value)| (setting.to_owned(), value.to_owned()))
        .to_vec();
        settings.push(("port".into(), cluster.port.to_string()));
        settings.push(("unix_socket_directories".into(), cluster.directory.display().to_string()));
        settings.extend(self.conf);
        cluster.append_conf(&settings);
        cluster.start();
        cluster
    }
}

/// Below the ports that the kernel hands out to clients, so that a server finds its own again after
/// a restart.
pub(super) fn free_port() -> u16 {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut port = next.unwrap_or_else(|| 20_000 + (std::process::id() % 600) as u16 * 20);
    while TcpListener::bind(("127.0.0.1", port)).is_err() {
        port += 1;
    }
    *next = Some(port + 1);
    port
}

/// A running (or just stopped) server. Dropping it stops it and removes its files; in a panic its
/// log's end is printed.
pub struct Cluster {
    pub(super) name: String,
    pub(super) major: u32,
    pub(super) bindir: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) port: u16,
    pub(super) environment: Vec<(String, String)>,
    pub(super) postmaster: Mutex<Option<Child>>,
}

impl Cluster {
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            name: "cluster".into(),
            major: installation::default_major(),
            fsync: false,
            anew: false,
            age: None,
            conf: Vec::new(),
            environment: Vec::new(),
        }
    }

    pub fn major(&self) -> u32 {
        self.major
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// libpq keywords, as configure() takes them.
    pub fn address(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname={database}", self.port)
    }

    /// libpq keywords for a test's own session: both sides of a comparison print values alike, and
    /// nothing ends, whatever the defaults of server, database and role are.
    pub fn conninfo(&self, database: &str) -> String {
        let options = super::world::kind_options(self.major).replace('\\', "\\\\");
        format!("{} options='{options}'", self.address(database))
    }

    // Life and death.

    /// Starts a stopped server and waits until it takes connections.
    #[track_caller]
    pub fn start(&self) {
        let mut slot = self.lock();
        assert!(slot.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log can be written");
        let child = command(self.bindir.join("postgres"))
            .arg("-D")
            .arg(self.data_directory())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle"))
            .stderr(log)
            .spawn()
            .expect("postgres can be run");
        *slot = Some(child);
        let deadline = Instant::now() + START_LIMIT;
        while self.try_connect("postgres").is_err() {
            let over = slot.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(over.is_none(), "{} ended as it started\n{}", self.name, self.log_tail(30));
            assert!(Instant::now() < deadline, "{} takes no connection\n{}", self.name, self.log_tail(30));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the server and waits for its end; how long that took.
    #[track_caller]
    pub fn stop(&self, how: Shutdown) -> Duration {
        let begun = Instant::now();
        self.end_with(match how {
            Shutdown::Smart => "TERM",
            Shutdown::Fast => "INT",
            Shutdown::Immediate => "QUIT",
        });
        begun.elapsed()
    }

    #[track_caller]
    pub fn restart(&self) {
        self.stop(Shutdown::Fast);
        self.start();
    }

    /// kill -9 of the postmaster; returns when its children have noticed and gone. The server is
    /// then down.
    #[track_caller]
    pub fn kill9_postmaster(&self) {
        self.end_with("KILL");
        // Its shared memory must be free before it can start again.
        let cwd = self.data_directory();
        eventually("the killed server's processes are gone", START_LIMIT, || {
            // The worker has threads: the last of them frees the memory, when the first may be gone
            // already.
            let processes = fs::read_dir("/proc").expect("/proc is there").flatten();
            let threads = processes.filter_map(|process| fs::read_dir(process.path().join("task")).ok());
            let mut cwds = threads
                .flatten()
                .flatten()
                .filter_map(|thread| fs::read_link(thread.path().join("cwd")).ok());
            (!cwds.any(|other| other == cwd)).then_some(())
        });
    }

    /// Waits until the server takes connections again, as after a crash of one of its processes.
    #[track_caller]
    pub fn wait_until_up(&self) {
        eventually("the server takes connections", START_LIMIT, || {
            self.try_connect("postgres").ok().map(drop)
        });
    }

    #[track_caller]
    fn end_with(&self, signal_name: &str) {
        let mut child = self.lock().take().unwrap_or_else(|| panic!("{} isn't running", self.name));
        signal(child.id().cast_signed(), signal_name);
        let deadline = Instant::now() + START_LIMIT;
        while child.try_wait().expect("a child of ours").is_none() {
            assert!(
                Instant::now() < deadline,
                "{} didn't stop at SIG{signal_name}\n{}",
                self.name,
                self.log_tail(30)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    // Settings.

    /// Appends to postgresql.conf; `reload()` or `restart()` makes it count.
    pub fn set_conf(&self, setting: &str, value: &str) {
        self.append_conf(&[(setting.into(), value.into())]);
    }

    #[track_caller]
    pub fn reload(&self) {
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    pub(super) fn append_conf(&self, settings: &[(String, String)]) {
        let path = self.data_directory().join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(path).expect("initdb made it");
        for (setting, value) in settings {
            writeln!(file, "{setting} = '{}'", value.replace('\'', "''")).expect("the disk has room");
        }
    }

    // SQL. A connection a call: nothing that a restart could break, no session that stands in the
    // way.

    pub fn try_connect(&self, database: &str) -> Result<Client, postgres::Error> {
        self.try_connect_as("postgres", database)
    }

    fn try_connect_as(&self, role: &str, database: &str) -> Result<Client, postgres::Error> {
        let mut config: postgres::Config = self.conninfo(database).parse().expect("our own conninfo");
        config.user(role).application_name("test").connect_timeout(Duration::from_secs(10));
        config.connect(NoTls)
    }

    #[track_caller]
    pub fn connect_as(&self, role: &str, database: &str) -> Client {
        self.try_connect_as(role, database)
            .unwrap_or_else(|error| panic!("{}: can't connect as {role}: {}", self.name, explain(&error)))
    }

    /// A session to keep.
    #[track_caller]
    pub fn connect(&self, database: &str) -> Client {
        self.try_connect(database)
            .unwrap_or_else(|error| panic!("{}: can't connect to {database}: {}", self.name, explain(&error)))
    }

    /// Runs statements, several at once if separated by semicolons (then in one transaction).
    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) {
        if let Err(error) = self.try_sql(database, statements) {
            panic!("{}: {}\nin: {}", self.name, explain(&error), shorten(statements));
        }
    }

    pub fn try_sql(&self, database: &str, statements: &str) -> Result<(), postgres::Error> {
        self.try_connect(database)?.batch_execute(statements)
    }

    /// The rows of a query, each value as text, NULL as None.
    #[track_caller]
    pub fn rows(&self, database: &str, query: &str) -> Vec<Vec<Option<String>>> {
        self.try_rows(database, query)
            .unwrap_or_else(|error| panic!("{}: {}\nin: {}", self.name, explain(&error), shorten(query)))
    }

    pub fn try_rows(&self, database: &str, query: &str) -> Result<Vec<Vec<Option<String>>>, postgres::Error> {
        let messages = self.try_connect(database)?.simple_query(query)?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The one value of a query's one row; an empty string for NULL.
    #[track_caller]
    pub fn value(&self, database: &str, query: &str) -> String {
        let mut rows = self.rows(database, query);
        assert!(
            rows.len() == 1 && rows[0].len() == 1,
            "{} rows, not one value\nin: {}",
            rows.len(),
            shorten(query)
        );
        rows.remove(0).remove(0).unwrap_or_default()
    }

    /// psql, connected to `database`, that stops at the first error. It runs as ourselves, so it
    /// can read what we can read. Always 15's, which talks to the newer servers too: the psql in
    /// 17's wheel crashes.
    pub fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new(bindir(15).join("psql"));
        psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-d", &self.conninfo(database)]);
        psql
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.postmaster.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail(60));
        }
        if let Some(mut child) = self.lock().take() {
            signal(child.id().cast_signed(), "QUIT");
            let _ = child.wait();
        }
        let left_open = self.left_open();
        directory::remove(&self.directory);
        // A panic while another unwinds would abort the whole run.
        if !std::thread::panicking() {
            assert!(left_open.is_empty(), "{} left something open:\n{}", self.name, left_open.join("\n"));
        }
    }
}

/// What the server said; tokio-postgres's own Display is only "db error".
pub fn explain(error: &postgres::Error) -> String {
    let Some(db) = error.as_db_error() else { return error.to_string() };
    let part =
        |name: &str, text: Option<&str>| text.map(|text| format!("\n{name}: {text}")).unwrap_or_default();
    format!(
        "{} ({}){}{}",
        db.message(),
        db.code().code(),
        part("DETAIL", db.detail()),
        part("HINT", db.hint())
    )
}

fn shorten(statements: &str) -> String {
    match statements.char_indices().nth(2000) {
        Some((end, _)) => format!("{} …", &statements[..end]),
        None => statements.to_owned(),
    }
}
