//! Where a server of a major version is installed, and which system user its processes run as.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The major version under test: `ODOO_MIRROR_PG`, or 15.
pub fn default_major() -> u32 {
    match std::env::var("ODOO_MIRROR_PG") {
        Ok(major) => major.parse().expect("ODOO_MIRROR_PG is a major version"),
        Err(_) => 15,
    }
}

/// The major version of sources: `ODOO_MIRROR_SOURCE_PG`, or the one under test.
pub fn source_major() -> u32 {
    match std::env::var("ODOO_MIRROR_SOURCE_PG") {
        Ok(major) => major.parse().expect("ODOO_MIRROR_SOURCE_PG is a major version"),
        Err(_) => default_major(),
    }
}

/// The directory of `postgres`, `initdb`, `psql` of that version: what scripts/servers.sh put in
/// place, else Debian's.
pub fn bindir(major: u32) -> PathBuf {
    let servers = match std::env::var_os("ODOO_MIRROR_SERVERS") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers"),
    };
    let config = servers.join(major.to_string()).join("pg_config");
    if config.exists() {
        // Not through the link in target/: user postgres may not be able to walk that way.
        let config = config.canonicalize().expect("it exists");
        return config.parent().expect("pg_config lies in a directory").to_path_buf();
    }
    // Old ones are sources only, and have no pg_config.
    if let Ok(programs) = servers.join(major.to_string()).join("bin").canonicalize() {
        return programs;
    }
    let debian = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    assert!(debian.join("postgres").exists(), "no PostgreSQL {major} here: run scripts/servers.sh {major}");
    debian
}

/// Whom server processes run as when we are root, whom PostgreSQL refuses.
struct ServerUser {
    uid: u32,
    gid: u32,
}

/// The user who runs the tests.
pub fn our_uid() -> u32 {
    static UID: OnceLock<u32> = OnceLock::new();
    *UID.get_or_init(|| id(&["-u"]))
}

fn id(arguments: &[&str]) -> u32 {
    let out = Command::new("id").args(arguments).output().expect("id is there");
    String::from_utf8_lossy(&out.stdout).trim().parse().unwrap_or_else(|_| panic!("id {arguments:?} failed"))
}

fn server_user() -> Option<&'static ServerUser> {
    static USER: OnceLock<Option<ServerUser>> = OnceLock::new();
    USER.get_or_init(|| {
        (our_uid() == 0).then(|| ServerUser { uid: id(&["-u", "postgres"]), gid: id(&["-g", "postgres"]) })
    })
    .as_ref()
}

/// A command that runs as the servers' user: postgres when we are root, ourselves otherwise.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    if let Some(user) = server_user() {
        command.uid(user.uid).gid(user.gid);
    }
    // The caller's PGPORT, PGDATA and their like must not reach a server or a psql of ours.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.current_dir("/").env("LC_ALL", "C");
    command
}

/// Gives a path that we made to the servers' user.
pub fn hand_over(path: &Path) {
    if let Some(user) = server_user() {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).expect("root may chown");
    }
}

/// Runs a command to its end; panics with its output if it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    assert!(
        out.status.success(),
        "{command:?}: {}\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}
