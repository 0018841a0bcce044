//! Where clusters lie on disk: one directory a cluster, and a template for each version from which
//! clusters are copied. Directories of test processes that died without cleaning up are swept away,
//! their servers first.

use super::installation::{bindir, command, hand_over, our_uid, run};
use super::signal;
use super::small_disk::unmount;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// User postgres must be able to walk there, and a socket's path has 107 bytes at most: /tmp, not
/// target/ or $TMPDIR.
fn base() -> PathBuf {
    let base = std::env::var_os("ODOO_MIRROR_TEST_DIR")
        .map_or_else(|| PathBuf::from(format!("/tmp/odoo_mirror-test-{}", our_uid())), PathBuf::from);
    make(&base);
    base
}

fn make(directory: &Path) {
    match fs::create_dir(directory) {
        Ok(()) => hand_over(directory),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => panic!("{}: {error}", directory.display()),
    }
}

/// A new cluster's directory, with an initialised `data` in it.
pub fn create(name: &str, major: u32) -> PathBuf {
    let cluster = create_empty(name);
    run(command("cp").args(["-a", "--reflink=auto"]).arg(template(&base(), major)).arg(cluster.join("data")));
    cluster
}

/// The same, with a system identifier of its own: clusters made from the template share one.
pub fn create_anew(name: &str, major: u32) -> PathBuf {
    let cluster = create_empty(name);
    initialise(&cluster.join("data"), major);
    cluster
}

/// A new cluster's directory, without `data`.
pub fn create_empty(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static SWEEP: Once = Once::new();
    let base = base();
    SWEEP.call_once(|| sweep(&base));
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let cluster = base.join(format!("{}-{number}-{name}", std::process::id()));
    make(&cluster);
    cluster
}

/// `initdb` takes most of a second, a copy of its result a tenth of that.
fn template(base: &Path, major: u32) -> PathBuf {
    let bindir = bindir(major);
    let version = run(command(bindir.join("postgres")).arg("--version"));
    // "postgres (PostgreSQL) 15.20 (Debian …)"
    let version = version.split(' ').nth(2).expect("it names its version").trim();
    let template = base.join(format!("template-{version}"));
    if !template.exists() {
        // Made beside and renamed: other tests may be at it in this very moment, and one of them
        // wins.
        let fresh = base.join(format!("new-{}-{:?}", std::process::id(), std::thread::current().id()));
        let _ = fs::remove_dir_all(&fresh);
        initialise(&fresh, major);
        if fs::rename(&fresh, &template).is_err() {
            assert!(template.exists(), "{} can't be put in place", template.display());
            let _ = fs::remove_dir_all(&fresh);
        }
    }
    template
}

fn initialise(data: &Path, major: u32) {
    run(command(bindir(major).join("initdb"))
        .args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "-D",
        ])
        .arg(data));
}

pub fn remove(cluster: &Path) {
    unmount(cluster);
    let _ = fs::remove_dir_all(cluster);
}

/// A test run that was killed leaves servers running and directories lying about.
fn sweep(base: &Path) {
    for cluster in subdirectories(base) {
        let name = cluster.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(owner) = name.split('-').next().and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if Path::new(&format!("/proc/{owner}")).exists() {
            continue;
        }
        if let Some(postmaster) = postmaster_of(&cluster.join("data")) {
            signal(postmaster, "QUIT");
        }
        remove(&cluster);
    }
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The live server of a data directory, by its pid file; its working directory tells it from a
/// stranger with the same pid.
fn postmaster_of(data: &Path) -> Option<i32> {
    let pid: i32 =
        fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()?;
    (fs::read_link(format!("/proc/{pid}/cwd")).ok()? == data).then_some(pid)
}
