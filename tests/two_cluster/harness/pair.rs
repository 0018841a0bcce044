//! A source and a mirror of it: the scene of nearly every scenario.

use super::cluster::{ClusterBuilder, explain};
use super::compare::{Side, differences, report};
use super::world::{Age, World};
use super::{Cluster, Proxy, eventually};
use std::time::{Duration, Instant};

/// The source's database.
pub const SOURCE: &str = "odoo";
/// The destination's database.
pub const MIRROR: &str = "mirror";
/// The schema that holds the mirrored tables.
pub const SCHEMA: &str = "odoo_mirror";
/// What configure() takes by default.
pub const PUBLICATION: &str = "odoo_pub_scout";

/// What a pair is to be, before it starts.
pub struct PairBuilder {
    source: ClusterBuilder,
    mirror: ClusterBuilder,
    source_database: String,
    mirror_database: String,
    proxied: bool,
    world: World,
}

impl PairBuilder {
    /// What follows the name in CREATE DATABASE: an encoding, a locale.
    pub fn source_database(mut self, options: &str) -> Self {
        options.clone_into(&mut self.source_database);
        self
    }

    pub fn mirror_database(mut self, options: &str) -> Self {
        options.clone_into(&mut self.mirror_database);
        self
    }

    pub fn source_conf(mut self, setting: &str, value: &str) -> Self {
        self.source = self.source.conf(setting, value);
        self
    }

    pub fn mirror_conf(mut self, setting: &str, value: &str) -> Self {
        self.mirror = self.mirror.conf(setting, value);
        self
    }

    /// A variable in the environment of the mirror's server.
    pub fn mirror_env(mut self, name: &str, value: &str) -> Self {
        self.mirror = self.mirror.env(name, value);
        self
    }

    pub fn source_env(mut self, name: &str, value: &str) -> Self {
        self.source = self.source.env(name, value);
        self
    }

    /// The source may be of another version than the mirror.
    pub fn source_major(mut self, major: u32) -> Self {
        self.source = self.source.major(major);
        self
    }

    /// The source has transaction ids of this epoch: as if it had handed out that many times 2^32
    /// before.
    pub fn source_epoch(mut self, epoch: u32) -> Self {
        self.source = self.source.epoch(epoch);
        self
    }

    /// The source's transaction ids go on from there, near a wrap of their lower halves, say.
    pub fn source_next_xid(mut self, next: u64) -> Self {
        self.source = self.source.next_xid(next);
        self
    }

    /// In the world of fresh servers: for what others than the mirror do there, and what counts
    /// transactions or names the superuser.
    pub fn in_a_plain_world(mut self) -> Self {
        self.world = World::plain();
        self
    }

    /// In the world of this number.
    pub fn in_world(mut self, seed: u64) -> Self {
        self.world = World::drawn(seed);
        self
    }

    /// Puts a `Proxy` between the two.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Starts, runs `schema` on the source, publishes all tables that are then there, configures,
    /// starts and waits until all of them are ready.
    #[track_caller]
    pub fn mirroring(self, schema: &str) -> Pair {
        let pair = self.start();
        pair.on_source(schema);
        pair.publish_all();
        pair.configure_and_start();
        pair.wait_ready(Duration::from_secs(60));
        pair
    }

    #[track_caller]
    pub fn start(self) -> Pair {
        self.world.tell();
        let source = match self.world.age {
            _ if self.source.age.is_some() || !World::can_age(self.source.major) => self.source,
            Age::Fresh => self.source,
            Age::Epoch(epoch) => self.source.epoch(epoch),
            Age::BeforeTheWrap(left) => self.source.next_xid((1 << 32) - u64::from(left)),
        };
        let source = source.start();
        let mirror = self.mirror.start();
        source.sql("postgres", &format!("CREATE DATABASE {SOURCE} {}", self.source_database));
        mirror.sql("postgres", &format!("CREATE DATABASE {MIRROR} {}", self.mirror_database));
        self.world.settle_source(&source, SOURCE);
        self.world.settle_mirror(&mirror, MIRROR);
        mirror.sql(MIRROR, "CREATE EXTENSION odoo_mirror");
        let proxy = self.proxied.then(|| Proxy::start(source.port()));
        Pair { source, mirror, proxy }
    }
}

/// Two running servers; the mirror has the extension, and isn't configured yet.
pub struct Pair {
    pub source: Cluster,
    pub mirror: Cluster,
    pub proxy: Option<Proxy>,
}

impl Pair {
    pub fn builder() -> PairBuilder {
        PairBuilder {
            source: Cluster::builder()
                .name("source")
                .major(super::installation::source_major())
                .conf("wal_level", "logical")
                .conf("max_wal_senders", "20")
                .conf("max_replication_slots", "20")
                .conf("max_prepared_transactions", "10"),
            mirror: Cluster::builder().name("mirror").preload(MIRROR).conf("max_replication_slots", "10"),
            source_database: String::new(),
            mirror_database: String::new(),
            proxied: false,
            world: World::of_this_test(),
        }
    }

    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// As [`PairBuilder::mirroring`].
    #[track_caller]
    pub fn mirroring(schema: &str) -> Self {
        Self::builder().mirroring(schema)
    }

    // SQL on either side.

    #[track_caller]
    pub fn on_source(&self, statements: &str) {
        self.source.sql(SOURCE, statements);
    }

    #[track_caller]
    pub fn on_mirror(&self, statements: &str) {
        self.mirror.sql(MIRROR, statements);
    }

    #[track_caller]
    pub fn source_value(&self, query: &str) -> String {
        self.source.value(SOURCE, query)
    }

    #[track_caller]
    pub fn mirror_value(&self, query: &str) -> String {
        self.mirror.value(MIRROR, query)
    }

    // Running it.

    /// Makes the publication of every table in schema public, this moment's.
    #[track_caller]
    pub fn publish_all(&self) {
        let tables = self.source.rows(
            SOURCE,
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1",
        );
        let tables: Vec<String> = tables.into_iter().flatten().flatten().collect();
        self.publish(&tables.join(", "));
    }

    /// Makes the publication. `tables` is what follows FOR TABLE: filters and column lists may be
    /// in it.
    #[track_caller]
    pub fn publish(&self, tables: &str) {
        self.on_source(&format!("CREATE PUBLICATION {PUBLICATION} FOR TABLE {tables}"));
    }

    /// Where the mirror finds the source: the proxy, if there is one.
    pub fn conninfo(&self) -> String {
        let port = self.proxy.as_ref().map_or(self.source.port(), Proxy::port);
        format!("host=127.0.0.1 port={port} user=postgres dbname={SOURCE}")
    }

    #[track_caller]
    pub fn configure_and_start(&self) {
        self.on_mirror(&format!("SELECT odoo_mirror.configure('{}')", self.conninfo()));
        self.on_mirror("SELECT odoo_mirror.start()");
    }

    /// Waits until every published table is ready. A table that failed ends the wait at once.
    #[track_caller]
    pub fn wait_ready(&self, limit: Duration) {
        let published = self.published_tables();
        let began = Instant::now();
        loop {
            // The mirror may be coming up from a crash.
            let found =
                self.mirror.try_rows(MIRROR, "SELECT table_name, state, reason FROM odoo_mirror.tables()");
            let state_of = |table: &String| {
                let rows = found.as_ref().ok()?;
                rows.iter().find(|row| row[0].as_ref() == Some(table)).and_then(|row| row[1].as_deref())
            };
            if published.iter().all(|table| state_of(table) == Some("ready")) {
                return;
            }
            let failed = published.iter().any(|table| state_of(table) == Some("failed"));
            if failed || began.elapsed() >= limit {
                let tables = found.map_err(|error| explain(&error));
                let what =
                    if failed { "a table failed".into() } else { format!("not ready within {limit:?}") };
                panic!("{what}: {tables:#?}\nstatus: {}", self.status());
            }
            super::rest(began);
        }
    }

    /// Tables of the publication, without their schema.
    #[track_caller]
    pub fn published_tables(&self) -> Vec<String> {
        let query =
            format!("SELECT tablename FROM pg_publication_tables WHERE pubname = '{PUBLICATION}' ORDER BY 1");
        self.source.rows(SOURCE, &query).into_iter().flatten().flatten().collect()
    }

    /// Returns when the mirror shows everything that the source had committed at the time of the
    /// call.
    #[track_caller]
    pub fn caught_up(&self) {
        self.caught_up_within(Duration::from_secs(30));
    }

    #[track_caller]
    pub fn caught_up_within(&self, limit: Duration) {
        let lsn = self.source_value("SELECT pg_current_wal_insert_lsn()");
        let deadline = Instant::now() + limit;
        // Asked again when the mirror goes down in between: scenarios kill it.
        while Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let wait = format!("SELECT odoo_mirror.wait_for('{lsn}', '{left} ms')");
            match self.mirror.try_rows(MIRROR, &wait) {
                Ok(rows) if rows[0][0].as_deref() == Some("t") => return,
                Ok(_) => break,
                Err(error) if error.as_db_error().is_some_and(|db| !db.code().code().starts_with("57P")) => {
                    panic!("wait_for: {}", explain(&error));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        panic!("the mirror hasn't reached {lsn} within {limit:?}\nstatus: {}", self.status());
    }

    /// status() as it prints; for messages, so it never fails.
    pub fn status(&self) -> String {
        let rows = self.mirror.try_rows(MIRROR, "SELECT jsonb_pretty(odoo_mirror.status())");
        rows.map_or_else(|error| explain(&error), |mut rows| rows.remove(0).remove(0).unwrap_or_default())
    }

    /// The main worker's process.
    #[track_caller]
    pub fn worker_pid(&self) -> i32 {
        eventually("there is a worker", Duration::from_secs(30), || {
            let query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'odoo_mirror'";
            self.mirror.try_rows(MIRROR, query).ok()?.first()?.first()?.as_ref()?.parse().ok()
        })
    }

    // Proof.

    /// Fails with the first differing rows unless `table` is the same on both sides.
    #[track_caller]
    pub fn assert_equal(&self, table: &str) {
        self.assert_equal_except(table, &[]);
    }

    /// Like `assert_equal`, without those columns.
    #[track_caller]
    pub fn assert_equal_except(&self, table: &str, except: &[&str]) {
        let source = Side { cluster: &self.source, database: SOURCE, schema: "public" };
        let mirror = Side { cluster: &self.mirror, database: MIRROR, schema: SCHEMA };
        let found = differences(source, mirror, table, except);
        assert!(found.is_empty(), "{}", report(table, &found));
    }

    /// Every published table, once the mirror has caught up.
    #[track_caller]
    pub fn assert_all_equal(&self) {
        self.caught_up();
        let tables = self.published_tables();
        assert!(!tables.is_empty(), "nothing is published");
        for table in tables {
            self.assert_equal(&table);
        }
    }
}
