//! What holds for certificates of anybody.

use std::time::Duration;

use odoo_mirror::source::trusted::{Trusted, end_point};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

/// When the seeds are valid: 2027.
const NOW: Duration = Duration::from_secs(1_830_000_000);

/// Takes PEM for what sslrootcert names, and for the chain that a server shows: how many of its
/// certificates are trusted, and whether the first is taken for localhost's.
pub fn certificates(pem: &[u8]) -> (usize, bool) {
    end_point(pem).inspect(|hash| assert!((32..=64).contains(&hash.len())));
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    for certificate in &found {
        end_point(certificate);
    }
    let Ok(trusted) = Trusted::parse(pem) else { return (0, false) };
    let localhost = ServerName::try_from("localhost").unwrap();
    let algorithms = default_provider().signature_verification_algorithms;
    let check = |server: &CertificateDer<'_>, name| {
        trusted.check(server, &found, name, UnixTime::since_unix_epoch(NOW), algorithms).is_ok()
    };
    // Not the very bytes, it needs a chain.
    let mut altered = found[0].to_vec();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    let altered = CertificateDer::from(altered);
    assert!(found.contains(&altered) || !check(&altered, None), "its signature is wrong");
    let trusted = found.iter().filter(|server| check(server, None)).count();
    (trusted, check(&found[0], Some(&localhost)))
}
