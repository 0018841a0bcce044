//! TLS to the source: the SSLRequest, how far a certificate is checked under each sslmode, and the
//! certificate's hash for channel binding. Both kinds of session come through here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::socket::Stream;
use super::{certificates, failure};
use crate::config::{SourceConfig, SslMode};
use crate::error::Error;

/// Asks for TLS as sslmode says, and shakes hands.
pub(super) async fn negotiate(
    mut tcp: TcpStream,
    host: &str,
    config: &SourceConfig,
    roots: Option<&[u8]>,
) -> Result<Stream, Error> {
    if config.sslmode == SslMode::Disable {
        return Ok(Stream::Tcp(tcp));
    }
    let connector = TlsConnector::from(Arc::new(client_config(config, roots)?));
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        Error::retry_slowly("the host is not a name that TLS can use")
            .hint("Correct the host, or give sslmode=disable.")
    })?;

    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(failure::io_failure)?;
    // One byte and no more: what follows it belongs to TLS, and must not have been sent before.
    match tcp.read_u8().await.map_err(failure::io_failure)? {
        b'S' => {}
        b'N' if config.sslmode == SslMode::Prefer => return Ok(Stream::Tcp(tcp)),
        b'N' => {
            return Err(Error::retry_slowly("the source does not speak TLS, which sslmode asks for")
                .hint("Set ssl = on on the source, or, on a network that you trust, sslmode=prefer."));
        }
        b'E' => return Err(Error::retry("the source answered the request for TLS with an error")),
        _ => {
            return Err(Error::retry_slowly("what listens there is no PostgreSQL server")
                .hint("Check host and port."));
        }
    }
    let tls = connector.connect(name, tcp).await.map_err(failure::io_failure)?;
    Ok(Stream::Tls(Box::new(tls)))
}

fn client_config(config: &SourceConfig, roots: Option<&[u8]>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier {
        trusted: roots.map(Trusted::parse).transpose()?,
        checks_name: config.sslmode == SslMode::VerifyFull,
        provider: provider.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failure::tls_failure(&error))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// The certificates of sslrootcert.
#[derive(Debug)]
struct Trusted {
    certificates: Vec<CertificateDer<'static>>,
    roots: RootCertStore,
}

impl Trusted {
    fn parse(pem: &[u8]) -> Result<Self, Error> {
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
}

/// As libpq: nothing is checked without sslrootcert (prefer, require), the chain with it
/// (so `require` with sslrootcert is verify-ca), the name too under verify-full.
///
/// The handshake's signature is checked always: channel binding is worth nothing without it.
#[derive(Debug)]
struct Verifier {
    trusted: Option<Trusted>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        // A self-signed server names itself in sslrootcert. It is often marked as an authority,
        // which the check of a chain refuses as a server's certificate; being exactly the trusted
        // one is more than a chain says.
        if !trusted.certificates.iter().any(|known| known == end_entity) {
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &trusted.roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        if self.checks_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What tls-server-end-point binds to (RFC 5929): the hash of the server's certificate, by the hash
/// of its own signature. None without TLS, and where that hash isn't defined (Ed25519, RSA-PSS).
pub(super) fn server_end_point(stream: &Stream) -> Option<Vec<u8>> {
    let Stream::Tls(tls) = stream else { return None };
    let certificate = tls.get_ref().1.peer_certificates()?.first()?.as_ref();
    Some(match signature_hash(certificate)? {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Debug, PartialEq)]
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
