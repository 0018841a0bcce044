//! The start of a session: who we are, the proof of it, and what the server says of itself.
//!
//! Ours for both kinds of session, so that neither sends a cleartext password where it may be read.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::channel::Channel;
use super::connect::Password;
use super::socket::Stream;
use super::tls;
use crate::config::{ChannelBinding, SourceConfig, SslMode};
use crate::error::Error;

/// The thread does nothing else meanwhile: a hostile server could keep it for hours. The library
/// does no more, either.
const MOST_ITERATIONS: u64 = 100_000;

/// How the server made sure of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It asked nothing: `trust`, `peer`, a certificate.
    None,
    /// It asked for the password, and was given it or the proof of it.
    Password,
}

/// Introduces us, and returns when the server is ready for a query.
pub(super) async fn log_in(
    channel: &mut Channel,
    config: &SourceConfig,
    password: Option<&Password>,
    replication: bool,
) -> Result<Proof, Error> {
    let mut parameters = vec![
        ("user", config.user.as_str()),
        ("database", &config.dbname),
        ("application_name", &config.application_name),
        ("client_encoding", "UTF8"),
    ];
    if replication {
        parameters.push(("replication", "database"));
    }
    put(channel, |out| frontend::startup_message(parameters, out))?;
    channel.flush().await?;

    let proof = authenticate(channel, config, password).await?;
    loop {
        match channel.message().await? {
            Message::BackendKeyData(body) => {
                channel.backend_pid = body.process_id();
                channel.secret_key = body.secret_key();
            }
            Message::ReadyForQuery(_) => return Ok(proof),
            _ => return Err(out_of_order()),
        }
    }
}

async fn authenticate(
    channel: &mut Channel,
    config: &SourceConfig,
    password: Option<&Password>,
) -> Result<Proof, Error> {
    let accepts = config.require_auth;
    let answer = match channel.message().await? {
        Message::AuthenticationSasl(_) if !accepts.scram => return Err(unaccepted("scram-sha-256")),
        Message::AuthenticationSasl(body) => {
            let password = password.ok_or_else(no_password)?;
            scram(channel, config, password, body).await?;
            return finished(channel).await;
        }
        _ if config.channel_binding == ChannelBinding::Require => return Err(unbound()),
        Message::AuthenticationOk if !accepts.none => return Err(unaccepted("none")),
        Message::AuthenticationOk => return Ok(Proof::None),
        Message::AuthenticationMd5Password(_) if !accepts.md5 => return Err(unaccepted("md5")),
        Message::AuthenticationMd5Password(body) => {
            let password = password.ok_or_else(no_password)?;
            md5_hash(config.user.as_bytes(), password.bytes(), body.salt()).into_bytes()
        }
        Message::AuthenticationCleartextPassword => {
            let verified = matches!(channel.stream, Stream::Tls(_)) && config.sslmode == SslMode::VerifyFull;
            if !verified || !accepts.password {
                return Err(Error::retry_slowly("the source asks for the password in cleartext").hint(
                    "Use scram-sha-256 in pg_hba.conf on the source; or say require_auth=password and \
                     sslmode=verify-full, under which a cleartext password is sent.",
                ));
            }
            password.ok_or_else(no_password)?.bytes().to_vec()
        }
        Message::AuthenticationGss
        | Message::AuthenticationSspi
        | Message::AuthenticationKerberosV5
        | Message::AuthenticationScmCredential => {
            return Err(Error::retry_slowly(
                "the source asks for a kind of authentication that is not supported",
            )
            .hint("Use scram-sha-256 for this user in pg_hba.conf on the source."));
        }
        _ => return Err(out_of_order()),
    };
    put(channel, |out| frontend::password_message(&answer, out))?;
    channel.flush().await?;
    finished(channel).await
}

async fn finished(channel: &mut Channel) -> Result<Proof, Error> {
    match channel.message().await? {
        Message::AuthenticationOk => Ok(Proof::Password),
        _ => Err(out_of_order()),
    }
}

async fn scram(
    channel: &mut Channel,
    config: &SourceConfig,
    password: &Password,
    offer: AuthenticationSaslBody,
) -> Result<(), Error> {
    let mechanisms: Vec<&str> =
        offer.mechanisms().collect().map_err(|error| out_of_order().caused_by(error))?;
    let end_point = tls::server_end_point(&channel.stream)
        .filter(|_| config.channel_binding != ChannelBinding::Disable)
        .map(sasl::ChannelBinding::tls_server_end_point);
    let offers = |mechanism| mechanisms.contains(&mechanism);
    let (mechanism, binding) = match end_point {
        Some(end_point) if offers(sasl::SCRAM_SHA_256_PLUS) => (sasl::SCRAM_SHA_256_PLUS, end_point),
        _ if !offers(sasl::SCRAM_SHA_256) => {
            return Err(Error::retry_slowly("the source offers no kind of SCRAM that is supported")
                .hint("Use scram-sha-256 for this user in pg_hba.conf on the source."));
        }
        _ if config.channel_binding == ChannelBinding::Require => return Err(unbound()),
        // Says that we could have bound the channel, so that a server that offered it notices who
        // took it away.
        Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
        None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
    };

    let mut scram = ScramSha256::new(password.bytes(), binding);
    put(channel, |out| frontend::sasl_initial_response(mechanism, scram.message(), out))?;
    channel.flush().await?;
    let Message::AuthenticationSaslContinue(body) = channel.message().await? else {
        return Err(out_of_order());
    };
    if iterations(body.data()).is_some_and(|iterations| iterations > MOST_ITERATIONS) {
        return Err(Error::retry_slowly(format!(
            "the source asks for more iterations of SCRAM than the {MOST_ITERATIONS} that are done for it"
        ))
        .hint("Lower scram_iterations on the source, and set this user's password anew."));
    }
    scram.update(body.data()).map_err(|error| out_of_order().caused_by(error))?;
    put(channel, |out| frontend::sasl_response(scram.message(), out))?;
    channel.flush().await?;
    let Message::AuthenticationSaslFinal(body) = channel.message().await? else { return Err(out_of_order()) };
    scram.finish(body.data()).map_err(|error| {
        Error::retry_slowly("the source could not prove that it knows the password")
            .hint("Something between here and the source may have answered in its place: use sslmode=verify-full.")
            .caused_by(error)
    })
}

/// What a server's first message of SCRAM asks for: "r=…,s=…,i=4096".
fn iterations(first: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(first).ok()?;
    text.split(',').find_map(|part| part.strip_prefix("i="))?.parse().ok()
}

/// Queues a message; only a zero byte inside a text makes that fail.
fn put(
    channel: &mut Channel,
    message: impl FnOnce(&mut BytesMut) -> std::io::Result<()>,
) -> Result<(), Error> {
    message(channel.outbox())
        .map_err(|error| Error::retry_slowly("a setting of the connection can't be sent").caused_by(error))
}

fn no_password() -> Error {
    Error::retry_slowly("the source asks for a password, and none is configured")
        .hint("Give password_secret to configure(), a passfile, or an environment variable.")
}

/// The source wants to make sure of us in a way that require_auth, or its default, leaves out.
fn unaccepted(method: &str) -> Error {
    let error = match method {
        "none" => Error::retry_slowly("the source asks for no password, which require_auth asks for"),
        _ => Error::retry_slowly(format!("the source asks for {method}, which require_auth does not name")),
    };
    error.hint(format!(
        "Use scram-sha-256 for this user in pg_hba.conf on the source, or add {method} to require_auth."
    ))
}

fn unbound() -> Error {
    Error::retry_slowly("the source did not use channel binding, which channel_binding asks for").hint(
        "Channel binding needs ssl = on and scram-sha-256 on the source, with a certificate that is not Ed25519; \
         or use channel_binding=prefer.",
    )
}

fn out_of_order() -> Error {
    Error::retry_slowly("what listens there does not authenticate as a PostgreSQL server does")
        .hint("Check host and port.")
}
