//! Real Odoo tables and recorded Odoo traffic, where they are at hand: `ODOO_MIRROR_SAMPLES`, or
//! `shared/odoo` beside the repository. A test that needs them returns when `Samples::find` finds
//! none.

use super::Cluster;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Samples(PathBuf);

/// One recorded transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub number: u32,
    /// Its statements, BEGIN and COMMIT among them.
    pub sql: String,
}

impl Samples {
    /// Says that the test is skipped when there are none.
    pub fn find() -> Option<Self> {
        let directory = match std::env::var_os("ODOO_MIRROR_SAMPLES") {
            Some(directory) => PathBuf::from(directory),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/odoo"),
        };
        if directory.join("schema-18.sql").exists() {
            return Some(Self(directory));
        }
        super::skip("no samples");
        None
    }

    /// Loads the tables of an Odoo version and their rows.
    #[track_caller]
    pub fn load(&self, cluster: &Cluster, database: &str, odoo: u32) {
        self.load_schema(cluster, database, odoo);
        self.load_data(cluster, database, odoo);
    }

    #[track_caller]
    pub fn load_schema(&self, cluster: &Cluster, database: &str, odoo: u32) {
        let schema = File::open(self.0.join(format!("schema-{odoo}.sql"))).expect("the samples are complete");
        feed(cluster, database, schema.into());
    }

    #[track_caller]
    pub fn load_data(&self, cluster: &Cluster, database: &str, odoo: u32) {
        let mut gzip = Command::new("gzip")
            .arg("-dc")
            .arg(self.0.join(format!("data-{odoo}.sql.gz")))
            .stdout(Stdio::piped())
            .spawn()
            .expect("gzip is there");
        feed(cluster, database, gzip.stdout.take().expect("it is piped").into());
        assert!(gzip.wait().expect("a child of ours").success(), "gzip failed");
    }

    /// Recorded traffic (`traffic-18`, `drift-18`): the session's settings, then its transactions
    /// in commit order.
    pub fn traffic(&self, recording: &str) -> (String, Vec<Transaction>) {
        let path = self.0.join(format!("{recording}.sql.gz"));
        let out = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip is there");
        assert!(out.status.success(), "gzip: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("the recording is UTF-8");
        let mut settings = String::new();
        let mut transactions: Vec<Transaction> = Vec::new();
        for line in text.split_inclusive('\n') {
            if let Some(rest) = line.strip_prefix("-- tx ") {
                let number = rest.split(' ').next().and_then(|number| number.parse().ok());
                transactions
                    .push(Transaction { number: number.expect("-- tx N +SECONDS"), sql: String::new() });
            } else {
                transactions
                    .last_mut()
                    .map_or(&mut settings, |transaction| &mut transaction.sql)
                    .push_str(line);
            }
        }
        (settings, transactions)
    }
}

#[track_caller]
fn feed(cluster: &Cluster, database: &str, input: Stdio) {
    let out = cluster.psql(database).stdin(input).stdout(Stdio::null()).output().expect("psql is there");
    assert!(out.status.success(), "psql: {}", String::from_utf8_lossy(&out.stderr));
}
