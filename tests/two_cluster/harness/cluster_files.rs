//! A cluster's files: what a test puts beside it, and copies of it.

use super::cluster::free_port;
use super::installation::{bindir, command, hand_over, run};
use super::{Cluster, Shutdown, directory};
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

    /// Puts the files of a copy, which isn't running, in the place of this server's, which is
    /// stopped: at its port.
    #[track_caller]
    pub fn become_copy(&self, copy: &Self) {
        fs::remove_dir_all(self.data_directory()).expect("the files are ours");
        fs::rename(copy.data_directory(), self.data_directory()).expect("it isn't there any more");
        self.append_conf(&[
            ("port".into(), self.port.to_string()),
            ("unix_socket_directories".into(), self.directory.display().to_string()),
        ]);
    }

    /// A copy that isn't started yet will recover to where it is consistent, and go on from there
    /// on a timeline of its own.
    pub fn recover_to_its_end(&self) {
        for (setting, value) in [
            ("restore_command", "false"),
            ("recovery_target", "immediate"),
            ("recovery_target_action", "promote"),
        ] {
            self.set_conf(setting, value);
        }
        let signal = self.data_directory().join("recovery.signal");
        fs::write(&signal, "").expect("the disk has room");
        hand_over(&signal);
    }

    /// Keeps a copy of the stopped server's files as they are now, its slots too: for
    /// [restore_files](Self::restore_files).
    #[track_caller]
    pub fn keep_files(&self) {
        run(command("cp").arg("-a").arg(self.data_directory()).arg(self.directory.join("kept")));
    }

    /// The stopped server is what it was when its files were kept.
    #[track_caller]
    pub fn restore_files(&self) {
        fs::remove_dir_all(self.data_directory()).expect("the files are ours");
        fs::rename(self.directory.join("kept"), self.data_directory()).expect("they were kept");
    }

    /// Upgrades the stopped server to another major version with pg_upgrade; it runs then, at the
    /// same port.
    #[track_caller]
    pub fn upgraded(&self, major: u32, conf: &[(&str, &str)]) -> Self {
        let mut anew = Self::builder().name("upgraded").major(major).initialised_anew();
        for (setting, value) in conf {
            anew = anew.conf(setting, value);
        }
        let mut anew = anew.start();
        anew.stop(Shutdown::Fast);
        if major >= 18 {
            // initdb turns them on by default since then, and pg_upgrade wants both alike.
            run(command(anew.bindir.join("pg_checksums"))
                .arg("--disable")
                .arg("-D")
                .arg(anew.data_directory()));
        }
        run(command(anew.bindir.join("pg_upgrade"))
            .current_dir(&anew.directory)
            .arg("-b")
            .arg(&self.bindir)
            .arg("-B")
            .arg(&anew.bindir)
            .arg("-d")
            .arg(self.data_directory())
            .arg("-D")
            .arg(anew.data_directory())
            .args(["-U", "postgres", "-p", &self.port.to_string(), "-P", &anew.port.to_string()]));
        anew.port = self.port;
        anew.append_conf(&[("port".into(), anew.port.to_string())]);
        anew.start();
        anew
    }
}
