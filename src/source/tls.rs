//! TLS to the source: the SSLRequest, and how far a certificate is checked under each sslmode. Both
//! kinds of session come through here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::failure;
use super::socket::Stream;
use super::trusted::{self, Trusted};
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
        let name = self.checks_name.then_some(server_name);
        let algorithms = self.provider.signature_verification_algorithms;
        trusted.check(end_entity, intermediates, name, now, algorithms)?;
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

/// What the channel can be bound to; None without TLS.
pub(super) fn server_end_point(stream: &Stream) -> Option<Vec<u8>> {
    let Stream::Tls(tls) = stream else { return None };
    trusted::end_point(tls.get_ref().1.peer_certificates()?.first()?.as_ref())
}
