//! Turns what the libraries below report into our errors: tokio-postgres, the socket, rustls, and a
//! server's ErrorResponse.

use std::error::Error as _;
use std::io;

use rustls::CertificateError;

use super::screen::Excess;
use crate::error::Error;

impl From<tokio_postgres::Error> for Error {
    fn from(failure: tokio_postgres::Error) -> Self {
        if let Some(report) = failure.as_db_error() {
            return Error::reported_by_source(
                report.code().code(),
                report.message(),
                report.detail(),
                report.hint(),
            );
        }
        if failure.is_closed() {
            return Error::retry("the source closed the connection").caused_by(failure);
        }
        if let Some(cause) = failure.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
            return io_judged(cause).caused_by(failure);
        }
        // What is left is a mismatch between our query and its answer, which no retry mends; its
        // text may quote a value, so that it is kept as the cause only.
        Error::retry_slowly("the source's answer could not be read").caused_by(failure)
    }
}

/// A failure of the socket, once it is connected or on the way there.
pub(super) fn io_failure(failure: io::Error) -> Error {
    io_judged(&failure).caused_by(failure)
}

fn io_judged(failure: &io::Error) -> Error {
    if let Some(tls) = failure.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_failure(tls);
    }
    if let Some(excess) = failure.get_ref().and_then(|inner| inner.downcast_ref::<Excess>()) {
        return excessive(*excess);
    }
    match failure.kind() {
        io::ErrorKind::ConnectionRefused => Error::retry("connection refused").hint(
            "Check host and port, that the server runs, and that its listen_addresses let it be reached from here.",
        ),
        io::ErrorKind::TimedOut => timed_out(),
        io::ErrorKind::UnexpectedEof => closed(),
        io::ErrorKind::NotFound => {
            Error::retry("no server listens on that Unix socket").hint("Check the directory and the port.")
        }
        // The numbers that the system gives say what kind it is; the text is the system's own.
        _ => Error::retry(failure.to_string().to_lowercase()),
    }
}

/// The source sends what no PostgreSQL server does.
pub(super) fn excessive(excess: Excess) -> Error {
    let hint = "Check host and port: no PostgreSQL server sends that.";
    match excess {
        // A stream is not gone on with past such a message.
        Excess::Length { .. } => Error::stop(excess.to_string()).hint(hint),
        _ => Error::retry_slowly(excess.to_string()).hint(hint),
    }
}

pub(super) fn timed_out() -> Error {
    Error::retry("the source did not answer in time").hint(
        "Check host and port, and that no firewall drops the packets; connect_timeout sets how long is waited.",
    )
}

pub(super) fn closed() -> Error {
    Error::retry("the source closed the connection")
}

pub(super) fn tls_failure(failure: &rustls::Error) -> Error {
    let certificate = |message: &str| Error::retry_slowly(message.to_owned());
    let error = match failure {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => certificate("the source's certificate has an unknown issuer").hint(
                "Let sslrootcert name the certificate that signed the source's, or the source's own if it is self-signed.",
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                certificate("the source's certificate is for another host name").hint(
                    "Use the host that the certificate's subjectAltName has (its common name doesn't count), or \
                     sslmode=verify-ca, which leaves the name out.",
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                certificate("the source's certificate has expired").hint("Renew the certificate on the source.")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                certificate("the source's certificate is not valid yet").hint("Check the clocks of both servers.")
            }
            _ => certificate("the source's certificate can't be accepted")
                .detail(failure.to_string())
                .hint("Use a version 3 certificate with a subjectAltName, signed by what sslrootcert names."),
        },
        rustls::Error::AlertReceived(_) | rustls::Error::PeerIncompatible(_) => {
            Error::retry_slowly("the source and we agree on no kind of TLS")
                .detail(failure.to_string())
                .hint("Let the source speak TLS 1.2 or newer (ssl_min_protocol_version, ssl_max_protocol_version, ssl_ciphers).")
        }
        _ => Error::retry("the TLS connection broke").detail(failure.to_string()),
    };
    error.caused_by(failure.clone())
}

/// An ErrorResponse: fields of one letter and a text, each ended by a zero byte.
pub(super) fn reported(body: &[u8]) -> Error {
    let mut fields = [const { None::<String> }; 4];
    for field in body.split(|byte| *byte == 0) {
        let Some((letter, text)) = field.split_first() else { continue };
        let at = match letter {
            b'C' => 0,
            b'M' => 1,
            b'D' => 2,
            b'H' => 3,
            _ => continue,
        };
        fields[at] = Some(String::from_utf8_lossy(text).into_owned());
    }
    let [sqlstate, message, detail, hint] = fields;
    let message = message.as_deref().unwrap_or("the source reported an error without a message");
    Error::reported_by_source(
        sqlstate.as_deref().unwrap_or_default(),
        message,
        detail.as_deref(),
        hint.as_deref(),
    )
}
