//! A primary that speaks TLS and a standby of it that doesn't, made once for all tests that run and
//! stopped with the last of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, Weak};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

pub const PASSWORD: &str = "s3cret-of-the-test";

/// Both servers, and the certificates beside them.
pub struct Clusters {
    directory: PathBuf,
    pub port: u16,
    pub standby_port: u16,
}

static SHARED: Mutex<Weak<Clusters>> = Mutex::new(Weak::new());

impl Clusters {
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let clusters = Arc::new(Self::start());
            *shared = Arc::downgrade(&clusters);
            clusters
        })
    }

    fn start() -> Self {
        let port = free_port(first_port());
        let standby_port = free_port(port + 1);
        let directory = std::env::temp_dir().join(format!("odoo_mirror_connect_{}", std::process::id()));
        fs::remove_dir_all(&directory).ok();
        fs::create_dir(&directory).unwrap();
        let clusters = Clusters { directory, port, standby_port };
        clusters.make_certificates();
        hand_over(&clusters.directory);

        let primary = clusters.directory.join("primary");
        clusters.run(
            "initdb",
            &["-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "--locale=C", "-D", text(&primary)],
        );
        let directory = text(&clusters.directory);
        let common = format!(
            "wal_level = logical\nfsync = off\nunix_socket_directories = '{directory}'\nlisten_addresses = '*'\n\
             datestyle = 'German, DMY'\nstatement_timeout = '1h'\nsearch_path = 'pg_temp'\n"
        );
        fs::write(
            primary.join("postgresql.auto.conf"),
            format!(
                "{common}port = {port}\nssl = on\nssl_cert_file = '{directory}/server.pem'\n\
                 ssl_key_file = '{directory}/server.key'\n"
            ),
        )
        .unwrap();
        fs::write(
            primary.join("pg_hba.conf"),
            "local all all trust\nhost all postgres all trust\nlocal replication all trust\n\
             host all scram all scram-sha-256\nhost all md5er all md5\nhost all clear all password\n\
             host all nobody all reject\n",
        )
        .unwrap();
        clusters.start_server("primary");
        clusters.sql(&format!(
            "CREATE ROLE scram LOGIN REPLICATION PASSWORD '{PASSWORD}'; CREATE ROLE clear LOGIN PASSWORD '{PASSWORD}'; \
             SET password_encryption = 'md5'; CREATE ROLE md5er LOGIN REPLICATION PASSWORD '{PASSWORD}'"
        ));

        let standby = clusters.directory.join("standby");
        clusters.run(
            "pg_basebackup",
            &[
                "-h",
                directory,
                "-p",
                &port.to_string(),
                "-U",
                "postgres",
                "-R",
                "-c",
                "fast",
                "-N",
                "-D",
                text(&standby),
            ],
        );
        let mut conf = fs::read_to_string(standby.join("postgresql.auto.conf")).unwrap();
        conf.push_str(&format!("port = {standby_port}\nssl = off\n"));
        fs::write(standby.join("postgresql.auto.conf"), conf).unwrap();
        clusters.start_server("standby");
        clusters
    }

    /// A certificate for `localhost` signed by ours, a self-signed authority that signed nothing,
    /// and damage.
    fn make_certificates(&self) {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
        };
        let (ours, issuer) = authority("the right one");
        let (other, _) = authority("another one");
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let server = params.signed_by(&key, &issuer).unwrap().pem();
        for (file, content) in [
            ("ca.pem", ours),
            ("other.pem", other),
            ("server.pem", server),
            ("server.key", key.serialize_pem()),
            ("damaged.pem", "no certificate".to_owned()),
        ] {
            fs::write(self.directory.join(file), content).unwrap();
        }
        set_mode(&self.directory.join("server.key"), 0o600);
    }

    pub fn path(&self, file: &str) -> String {
        text(&self.directory.join(file)).to_owned()
    }

    pub fn socket_directory(&self) -> &str {
        text(&self.directory)
    }

    /// Writes a file that only we may read, or that everybody may.
    pub fn write(&self, file: &str, content: &str, mode: u32) -> String {
        let path = self.directory.join(file);
        fs::write(&path, content).unwrap();
        set_mode(&path, mode);
        text(&path).to_owned()
    }

    /// Runs SQL on the primary, as its superuser.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in("postgres", sql)
    }

    /// The same in another database.
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        let port = self.port.to_string();
        let args = [
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            self.socket_directory(),
            "-p",
            &port,
            "-U",
            "postgres",
            "-d",
            database,
            "-c",
            sql,
        ];
        String::from_utf8(self.run("psql", &args).stdout).unwrap().trim().to_owned()
    }

    fn start_server(&self, name: &str) {
        let data = self.directory.join(name);
        let log = self.path(&format!("{name}.log"));
        self.run("pg_ctl", &["-D", text(&data), "-l", &log, "-w", "-s", "start"]);
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let output = command(program).args(args).current_dir(&self.directory).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Clusters {
    fn drop(&mut self) {
        for name in ["standby", "primary"] {
            let data = self.directory.join(name);
            command("pg_ctl")
                .args(["-D", text(&data), "-m", "immediate", "-s", "stop"])
                .current_dir("/")
                .status()
                .ok();
        }
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// PostgreSQL refuses to run as root: then it runs as the user postgres.
fn command(program: &str) -> Command {
    let program = binaries().join(program);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn binaries() -> PathBuf {
    if let Some(directory) = std::env::var_os("ODOO_MIRROR_PG_BIN") {
        return directory.into();
    }
    let output =
        Command::new("pg_config").arg("--bindir").output().expect("pg_config, or $ODOO_MIRROR_PG_BIN");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

fn hand_over(directory: &Path) {
    if is_root() {
        assert!(Command::new("chown").args(["-R", "postgres", text(directory)]).status().unwrap().success());
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Two runs at once look in different places, below the ports that the kernel hands out to clients.
fn first_port() -> u16 {
    10_000 + (std::process::id() % 600) as u16 * 16
}

fn free_port(from: u16) -> u16 {
    (from..from + 15)
        .find(|port| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok())
        .expect("a free port")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
