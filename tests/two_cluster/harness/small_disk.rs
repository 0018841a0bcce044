//! A tablespace on a file system of its own, that can be full. Root may make one, nobody else.

use super::Cluster;
use super::installation::hand_over;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// It goes with its cluster.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// The tablespace's name.
    pub const NAME: &'static str = "small";
    const ROOM: &'static str = "1g";

    #[track_caller]
    pub fn of(cluster: &Cluster) -> Self {
        let disk = Self(cluster.directory.join(Self::NAME));
        let is_there = format!("SELECT count(*) FROM pg_tablespace WHERE spcname = '{}'", Self::NAME);
        if cluster.value("postgres", &is_there) == "0" {
            fs::create_dir(&disk.0).expect("the cluster's directory is ours");
            disk.mount(&format!("size={}", Self::ROOM));
            hand_over(&disk.0);
            let sql = format!("CREATE TABLESPACE {} LOCATION '{}'", Self::NAME, disk.0.display());
            cluster.sql("postgres", &sql);
        }
        disk
    }

    /// Not a page more than there are: to write over them is no harm.
    #[track_caller]
    pub fn is_full(&self) {
        let out = Command::new("df").args(["--output=used", "-B1"]).arg(&self.0).output();
        let out = String::from_utf8_lossy(&out.expect("df is there").stdout).into_owned();
        let used = out.lines().last().unwrap_or_default().trim();
        self.mount(&format!("remount,size={used}"));
    }

    #[track_caller]
    pub fn has_room(&self) {
        self.mount(&format!("remount,size={}", Self::ROOM));
    }

    #[track_caller]
    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.0);
        let out = mount.output().expect("mount is there");
        assert!(out.status.success(), "{mount:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

/// Whatever is mounted in that directory would keep it from being removed.
pub(super) fn unmount(cluster: &Path) {
    let place = cluster.join(SmallDisk::NAME);
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|mounted| Path::new(mounted) == place)) {
        let _ = Command::new("umount").arg("--lazy").arg(place).output();
    }
}
