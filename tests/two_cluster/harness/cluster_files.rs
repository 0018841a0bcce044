//! A cluster's files: what a test puts beside it, and copies of it.

use super::cluster::free_port;
use super::installation::{bindir, command, hand_over, run};
use super::{Cluster, directory};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

impl Cluster {
    /// Writes a file that belongs to the server's user, and returns where it lies.
    pub fn write_file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, content).expect("the disk has room");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        hand_over(&path);
        path
    }

    /// Replaces pg_hba.conf; it counts at once.
    #[track_caller]
    pub fn set_hba(&self, lines: &str) {
        fs::write(self.data_directory().join("pg_hba.conf"), lines).expect("initdb made it");
        self.reload();
    }

    /// A copy of the running server, as pg_basebackup takes it: not started, on a port of its own.
    #[track_caller]
    pub fn base_backup(&self, name: &str) -> Self {
        let directory = directory::create_empty(name);
        run(command(self.bindir.join("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-U", "postgres", "-c", "fast", "-X", "stream", "--no-sync"])
            .args(["-p", &self.port.to_string()])
            .arg("-D")
            .arg(directory.join("data")));
        let copy = Self {
            name: name.into(),
            major: self.major,
            bindir: self.bindir.clone(),
            port: free_port(),
            environment: self.environment.clone(),
            postmaster: Mutex::new(None),
            directory,
        };
        copy.append_conf(&[
            ("port".into(), copy.port.to_string()),
            ("unix_socket_directories".into(), copy.directory.display().to_string()),
        ]);
        copy
    }

    /// What pg_dump writes of a database.
    #[track_caller]
    pub fn dump(&self, database: &str) -> String {
        run(Command::new(bindir(self.major).join("pg_dump")).args(["-d", &self.conninfo(database)]))
    }

    /// Makes a copy that isn't started yet a standby of the server that listens on `port`.
    pub fn follow_as_standby(&self, port: u16) {
        self.set_conf("primary_conninfo", &format!("host=127.0.0.1 port={port} user=postgres"));
        let signal = self.data_directory().join("standby.signal");
        fs::write(&signal, "").expect("the disk has room");
        hand_over(&signal);
    }
}
