//! Certificates: those that sslrootcert trusts, whether they vouch for a server's, and what of a
//! server's certificate a channel is bound to. Whatever is read here somebody else may have
//! written.

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{Error as TlsError, RootCertStore};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::certificates;
use crate::error::Error;

/// The certificates of sslrootcert.
#[derive(Debug)]
pub struct Trusted {
    certificates: Vec<CertificateDer<'static>>,
    roots: RootCertStore,
}

impl Trusted {
    /// # Errors
    /// When there is none that can be used among them.
    pub fn parse(pem: &[u8]) -> Result<Self, Error> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| certificates::unusable())?;
        let mut roots = RootCertStore::empty();
        // A bundle may hold one that this library doesn't know, beside the one that matters.
        let (usable, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        if usable == 0 {
            return Err(certificates::unusable());
        }
        Ok(Trusted { certificates, roots })
    }

    /// Checks a server's certificate: the chain, and, where a name is given, that too.
    ///
    /// # Errors
    /// Why it can't be accepted.
    pub fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
        now: UnixTime,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), TlsError> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        // A self-signed server names itself in sslrootcert. It is often marked as an authority,
        // which the check of a chain refuses as a server's certificate; being exactly the trusted
        // one is more than a chain says.
        if !self.certificates.iter().any(|known| known == end_entity) {
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                algorithms.all,
            )?;
        }
        name.map_or(Ok(()), |name| verify_server_name(&certificate, name))
    }
}

/// What tls-server-end-point binds to (RFC 5929): the hash of the server's certificate, by the hash
/// of its own signature. None where that hash isn't defined (Ed25519, RSA-PSS).
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_hash(certificate)? {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID, … }, … }
fn signature_hash(certificate: &[u8]) -> Option<Hash> {
    const SEQUENCE: u8 = 0x30;
    const OID: u8 = 0x06;
    let (certificate, _) = der_element(certificate, SEQUENCE)?;
    let (_, after_tbs) = der_element(certificate, SEQUENCE)?;
    let (algorithm, _) = der_element(after_tbs, SEQUENCE)?;
    let (oid, _) = der_element(algorithm, OID)?;
    let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01]; // 1.2.840.113549.1.1
    let ecdsa = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04]; // 1.2.840.10045.4
    match oid.strip_prefix(&rsa).or_else(|| oid.strip_prefix(&ecdsa))? {
        // MD5 and SHA-1 count as SHA-256.
        [4] | [5] | [1] | [11] | [3, 2] => Some(Hash::Sha256),
        [12] | [3, 3] => Some(Hash::Sha384),
        [13] | [3, 4] => Some(Hash::Sha512),
        _ => None,
    }
}

/// The content of one element with this tag, and what follows it.
fn der_element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // The length stands in as many bytes as the low bits say; four are more than enough.
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}
