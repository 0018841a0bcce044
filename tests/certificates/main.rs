//! Certificates that a source or whoever configured it may have written.

mod checks;

use std::fs;
use std::path::Path;

use odoo_mirror::source::trusted::{Trusted, end_point};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SignatureAlgorithm};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

#[test]
fn the_seeds_hold_certificates_that_are_trusted_and_some_that_are_not() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/certificates");
    let seeds = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let met: Vec<_> = seeds.map(|seed| checks::certificates(&seed)).collect();
    for wanted in [(0, false), (1, true), (2, true)] {
        assert!(met.contains(&wanted), "{wanted:?} is not among {met:?}");
    }
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

fn certificate(algorithm: &'static SignatureAlgorithm) -> CertificateDer<'static> {
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.self_signed(&key(algorithm)).unwrap().der().clone()
}

#[test]
fn a_channel_is_bound_by_the_hash_that_the_certificate_was_signed_with() {
    for (algorithm, length) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
        (&rcgen::PKCS_ED25519, None),
    ] {
        let bound = end_point(&certificate(algorithm)).map(|hash| hash.len());
        assert_eq!(bound, length, "{algorithm:?}");
    }
}

/// Long lengths, short lengths, and an end in the middle of each.
#[test]
fn a_certificate_that_is_cut_off_binds_nothing() {
    let whole = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
    for length in 0..whole.len() {
        assert_eq!(end_point(&whole[..length]), None, "{length} of {}", whole.len());
    }
}

#[test]
fn a_chain_is_followed_a_name_looked_at_and_another_authority_refused() {
    let authority = || {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key(&rcgen::PKCS_ECDSA_P256_SHA256);
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    };
    let ((ours, issuer), (other, _)) = (authority(), authority());
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = params.signed_by(&key(&rcgen::PKCS_ECDSA_P256_SHA256), &issuer).unwrap().der().clone();
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let name = |name: &str| Some(ServerName::try_from(name.to_owned()).unwrap());
    for (pem, host, trusted) in [
        (&ours, None, true),
        (&ours, name("localhost"), true),
        (&ours, name("elsewhere"), false),
        (&other, None, false),
        (&other, name("localhost"), false),
    ] {
        let checked = Trusted::parse(pem.as_bytes()).unwrap().check(
            &server,
            &[],
            host.as_ref(),
            UnixTime::now(),
            algorithms,
        );
        assert_eq!(checked.is_ok(), trusted, "{host:?}: {checked:?}");
    }
    let bundle = [other, ours].concat();
    assert_eq!(CertificateDer::pem_slice_iter(bundle.as_bytes()).count(), 2);
    let trusted = Trusted::parse(bundle.as_bytes()).unwrap();
    assert!(trusted.check(&server, &[], None, UnixTime::now(), algorithms).is_ok());
}

#[test]
fn what_holds_no_certificate_is_refused() {
    for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(Trusted::parse(pem.as_bytes()).unwrap_err().message.contains("sslrootcert"), "{pem}");
    }
}
