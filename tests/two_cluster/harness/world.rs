//! The world that a pair of servers lives in: what a test doesn't ask for, and a mirror must not
//! depend on. Each test draws one, its own, and says which when it fails.
//!
//! `ODOO_MIRROR_WORLD` gives all tests that are run the world of one number; `0` is the plainest.

use super::cluster::Cluster;
use super::installation::bindir;
use super::random::Rng;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What sessions of a database begin with, where nobody says otherwise: text, parsing, plans and
/// time limits of another kind than a fresh server's.
const UNKIND: [(&str, &str); 24] = [
    ("DateStyle", "'German, DMY'"),
    ("IntervalStyle", "sql_standard"),
    ("TimeZone", "'Asia/Kathmandu'"),
    ("extra_float_digits", "0"),
    ("bytea_output", "escape"),
    ("array_nulls", "off"),
    ("quote_all_identifiers", "on"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("xmloption", "document"),
    ("search_path", "pg_temp"),
    ("row_security", "off"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_deferrable", "on"),
    ("statement_timeout", "'200ms'"),
    ("lock_timeout", "'20ms'"),
    ("idle_in_transaction_session_timeout", "'200ms'"),
    ("idle_session_timeout", "'400ms'"),
    ("transaction_timeout", "'600ms'"),
    ("enable_indexscan", "off"),
    ("jit_above_cost", "0"),
    ("work_mem", "'64kB'"),
    ("client_min_messages", "debug1"),
];

/// What a test's own sessions begin with, whatever the world is: a test reads values, and takes its
/// time.
const KIND: [(&str, &str); 21] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("array_nulls", "on"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
    ("xmloption", "content"),
    ("row_security", "on"),
    ("default_transaction_isolation", "read\\ committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("enable_indexscan", "on"),
    ("jit", "off"),
    ("work_mem", "4MB"),
    ("client_min_messages", "notice"),
];

/// What `options` says for a test's own session with a server of this major version.
pub(super) fn kind_options(major: u32) -> String {
    let mut kind: Vec<(&str, &str)> = KIND.to_vec();
    kind.push(("search_path", "\"$user\",public"));
    if major >= 14 {
        kind.push(("idle_session_timeout", "0"));
    }
    if major >= 17 {
        kind.push(("transaction_timeout", "0"));
    }
    kind.iter().map(|(name, value)| format!("-c {name}={value} ")).collect()
}

/// How old the source's transaction ids are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    Epoch(u32),
    /// So many transactions before their lower halves wrap.
    BeforeTheWrap(u32),
}

#[derive(Debug, Clone)]
pub(super) struct World {
    seed: u64,
    pub(super) age: Age,
    source: Side,
    mirror: Side,
}

#[derive(Debug, Clone, Default)]
struct Side {
    /// The superuser that initdb made has this name, and `postgres` is another one.
    bootstrap: Option<&'static str>,
    settings: Vec<(&'static str, &'static str)>,
}

impl World {
    /// Of a fresh server.
    pub(super) fn plain() -> World {
        World { seed: 0, age: Age::Fresh, source: Side::default(), mirror: Side::default() }
    }

    /// The one of this test: the same each time, so that a red run is the doing of a change.
    pub(super) fn of_this_test() -> World {
        let asked = std::env::var("ODOO_MIRROR_WORLD").ok();
        let seed = asked.map(|seed| seed.parse().expect("ODOO_MIRROR_WORLD is a number"));
        World::drawn(seed.unwrap_or_else(|| {
            let mut hasher = DefaultHasher::new();
            std::thread::current().name().hash(&mut hasher);
            hasher.finish() % 1_000_000
        }))
    }

    pub(super) fn drawn(seed: u64) -> World {
        if seed == 0 {
            return World::plain();
        }
        let mut rng = Rng::unasked(seed);
        let age = match rng.number(0..10) {
            0..4 => Age::Fresh,
            4..7 => Age::Epoch(1),
            7..9 => Age::Epoch(3),
            _ => Age::BeforeTheWrap(rng.number(500..5000) as u32),
        };
        World { seed, age, source: Side::drawn(&mut rng), mirror: Side::drawn(&mut rng) }
    }

    pub(super) fn settle_source(&self, cluster: &Cluster, database: &str) {
        self.source.settle(cluster, database);
    }

    pub(super) fn settle_mirror(&self, cluster: &Cluster, database: &str) {
        self.mirror.settle(cluster, database);
    }

    /// Whether a cluster of this version can be made old.
    pub(super) fn can_age(major: u32) -> bool {
        bindir(major).join("pg_resetwal").exists()
    }

    pub(super) fn tell(&self) {
        println!("world: ODOO_MIRROR_WORLD={} makes it again: {self:?}", self.seed);
    }
}

impl Side {
    fn drawn(rng: &mut Rng) -> Side {
        let bootstrap = rng.one_in(2).then_some("supabase_admin");
        let all = rng.one_in(4);
        let settings = UNKIND.into_iter().filter(|_| all || rng.one_in(3)).collect();
        Side { bootstrap, settings }
    }

    /// In a database that is there, before anybody else's session.
    fn settle(&self, cluster: &Cluster, database: &str) {
        if let Some(name) = self.bootstrap {
            cluster.sql("postgres", "CREATE ROLE carpenter LOGIN SUPERUSER");
            let mut session = cluster.connect_as("carpenter", "postgres");
            session
                .batch_execute(&format!(
                    "ALTER ROLE postgres RENAME TO {name};
                     CREATE ROLE postgres LOGIN SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS;
                     ALTER DATABASE {database} OWNER TO postgres"
                ))
                .expect("a superuser may");
            cluster.sql("postgres", "DROP ROLE carpenter");
        }
        let known = cluster.rows("postgres", "SELECT lower(name) FROM pg_settings");
        let known: Vec<String> = known.into_iter().flatten().flatten().collect();
        let alter: String = self
            .settings
            .iter()
            .filter(|(name, _)| known.contains(&name.to_lowercase()))
            .map(|(name, value)| format!("ALTER DATABASE {database} SET {name} = {value};"))
            .collect();
        cluster.sql("postgres", &alter);
    }
}
