//! The file that sslrootcert names: a regular one, of a size that certificates have.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

use crate::error::Error;

/// All authorities of a system come to some 250 kB.
const LARGEST: u64 = 1024 * 1024;

/// The file's bytes. Whatever is in the way is told in the same words: whoever names a file learns
/// nothing of which files there are.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    // A FIFO or a device is opened without waiting, looked at, and left.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = opened.map_err(|_| unusable())?;
    let about = file.metadata().map_err(|_| unusable())?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(unusable());
    }
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|_| unusable())?;
    if bytes.len() as u64 > LARGEST { Err(unusable()) } else { Ok(bytes) }
}

/// Whether the path leads into the directory, by its words alone: what links in there lead to is
/// the business of whoever keeps the directory.
pub(super) fn is_within(path: &str, directory: &str) -> bool {
    let plain =
        |path: &Path| path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    let (path, directory) = (Path::new(path), Path::new(directory));
    plain(path) && plain(directory) && path != directory && path.starts_with(directory)
}

pub(super) fn unusable() -> Error {
    Error::retry_slowly("the certificates that sslrootcert names can't be used").hint(
        "It must name a regular file of at most 1 MB with certificates in PEM, readable by the server's \
         operating-system user; where no superuser called configure(), one in odoo_mirror.certificate_directory.",
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{is_within, read};

    #[test]
    fn what_is_no_small_regular_file_is_refused_at_once_and_in_the_same_words() {
        let directory = std::env::temp_dir().join(format!("odoo_mirror-certificates-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        std::fs::write(path("large"), vec![b'x'; 1024 * 1024 + 1]).unwrap();
        std::fs::write(path("good"), "-----BEGIN").unwrap();
        assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        let refusals: Vec<_> = [
            path("absent"),
            path("large"),
            path("fifo"),
            path(""),
            "/dev/zero".to_owned(),
            "/proc/self/mem".to_owned(),
        ]
        .iter()
        .map(|path| format!("{:?}", read(path).expect_err(path)))
        .collect();
        assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
        assert_eq!(read(&path("good")).unwrap(), b"-----BEGIN");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_path_is_within_a_directory_only_when_its_words_say_so() {
        for (path, directory, within) in [
            ("/etc/ssl/certs/ca.pem", "/etc/ssl/certs", true),
            ("/etc/ssl/certs/a/b.pem", "/etc/ssl/certs/", true),
            ("/etc/ssl/certs", "/etc/ssl/certs", false),
            ("/etc/ssl/certs/../private/key.pem", "/etc/ssl/certs", false),
            ("/etc/ssl/certsx/ca.pem", "/etc/ssl/certs", false),
            ("/etc/passwd", "/etc/ssl/certs", false),
            ("ca.pem", "", false),
        ] {
            assert_eq!(is_within(path, directory), within, "{path} in {directory}");
        }
    }
}
