//! From a configuration to a session that is ready for work: the hosts in turn, their addresses, TLS,
//! authentication, and the settings that every session of ours has.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::authentication;
use super::channel::Channel;
use super::failure;
use super::session::{self, ReplicationSession};
use super::socket::{self, Stream};
pub use super::sql::Sql;
use super::tls;
use crate::config::{Host, SourceConfig, TargetSessionAttrs, passfile};
use crate::error::sqlstate::POOLER_HINT;
use crate::error::{Error, Verdict};
use crate::mirror::session_settings;

/// For one address, when connect_timeout isn't given: a worker that waits for ever can't say why.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A password, which no log, error or debug output ever shows.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    pub fn new(password: impl Into<String>) -> Self {
        Password(password.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Opens sessions on the source, each on the first host that will have us.
///
/// Without a password, the configuration's passfile is read for each host; whoever lets a user write the
/// configuration must have settled whether that user may name a file.
#[derive(Debug, Clone)]
pub struct Connector {
    config: SourceConfig,
    password: Option<Password>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sql,
    Replication,
}

/// One place to try: an address, or a Unix socket.
enum Address {
    Tcp(SocketAddr),
    Unix(String),
}

impl Connector {
    pub fn new(config: SourceConfig, password: Option<Password>) -> Self {
        Connector { config, password }
    }

    /// A session for ordinary SQL. Runs a task on the current tokio runtime, which ends with the session.
    ///
    /// # Errors
    /// Of several hosts, the failure that says most; the detail has them all.
    pub async fn sql(&self) -> Result<Sql, Error> {
        Sql::take_over(self.open(Kind::Sql).await?).await
    }

    /// A session that speaks the replication commands, in the source's database.
    ///
    /// # Errors
    /// As [sql](Self::sql); and when what answers knows no replication, as a pooler doesn't.
    pub async fn replication(&self) -> Result<ReplicationSession, Error> {
        Ok(ReplicationSession::new(self.open(Kind::Replication).await?))
    }

    async fn open(&self, kind: Kind) -> Result<Channel, Error> {
        let mut failures = Vec::new();
        for host in &self.config.hosts {
            match self.addresses(host).await {
                Ok(addresses) => {
                    for address in addresses {
                        match self.within_timeout(self.open_at(host, &address, kind)).await {
                            Ok(channel) => return Ok(channel),
                            Err(error) => failures.push((host, error)),
                        }
                    }
                }
                Err(error) => failures.push((host, error)),
            }
        }
        Err(most_telling(failures))
    }

    async fn open_at(&self, host: &Host, address: &Address, kind: Kind) -> Result<Channel, Error> {
        let stream = match address {
            Address::Unix(path) => {
                Stream::Unix(UnixStream::connect(path).await.map_err(failure::io_failure)?)
            }
            Address::Tcp(address) => {
                let tcp = TcpStream::connect(address).await.map_err(failure::io_failure)?;
                socket::prepare(&tcp, &self.config).map_err(failure::io_failure)?;
                tls::negotiate(tcp, &host.name, &self.config).await?
            }
        };
        let password = self.password_for(host)?;
        let mut channel = Channel::new(stream);
        let replication = kind == Kind::Replication;
        authentication::log_in(&mut channel, &self.config, password.as_ref(), replication).await?;
        self.settle(&mut channel, kind).await?;
        if replication {
            knows_replication(&mut channel).await?;
        }
        Ok(channel)
    }

    /// Sets what must not depend on the source's configuration, and passes over a standby.
    async fn settle(&self, channel: &mut Channel, kind: Kind) -> Result<(), Error> {
        // The output functions of a stream run in the walsender, with its settings.
        let search_path = match kind {
            Kind::Replication => session_settings::VALUES_PATH,
            Kind::Sql => session_settings::CATALOG_PATH,
        };
        let settings = session_settings::for_source(search_path);
        let rows =
            session::query(channel, &format!("{settings}; SELECT pg_catalog.pg_is_in_recovery()")).await?;
        let in_recovery = rows.last().and_then(|row| row.first()).and_then(Option::as_deref) == Some("t");
        match self.config.target_session_attrs {
            TargetSessionAttrs::ReadWrite | TargetSessionAttrs::Primary if in_recovery => {
                Err(Error::retry_slowly("the server is in recovery: a standby can't be mirrored from").hint(
                    "Name the primary, or all servers: host=a,b picks the one that is not in recovery.",
                ))
            }
            _ => Ok(()),
        }
    }

    async fn addresses(&self, host: &Host) -> Result<Vec<Address>, Error> {
        if let Some(address) = host.address {
            return Ok(vec![Address::Tcp(SocketAddr::new(address, host.port))]);
        }
        if host.is_socket_directory() {
            return Ok(vec![Address::Unix(format!(
                "{}/.s.PGSQL.{}",
                host.name.trim_end_matches('/'),
                host.port
            ))]);
        }
        let unknown = |error: std::io::Error| {
            Error::retry_slowly("the host name is not known")
                .hint("Check host, and that this server's name service knows it.")
                .caused_by(error)
        };
        let lookup = async {
            let found = tokio::net::lookup_host((host.name.as_str(), host.port)).await.map_err(unknown)?;
            Ok(found.map(Address::Tcp).collect())
        };
        self.within_timeout(lookup).await
    }

    async fn within_timeout<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match self.config.connect_timeout.unwrap_or(CONNECT_TIMEOUT) {
            Duration::ZERO => work.await,
            limit => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(failure::timed_out())),
        }
    }

    fn password_for(&self, host: &Host) -> Result<Option<Password>, Error> {
        let (None, Some(path)) = (&self.password, &self.config.passfile) else {
            return Ok(self.password.clone());
        };
        let unreadable = |error: std::io::Error| {
            Error::retry_slowly("the passfile can't be read")
                .detail(error.to_string())
                .hint("It must be readable by the server's operating-system user.")
        };
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Error::retry_slowly("the passfile is open to other users")
                .hint("Take their access away: chmod 600."));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let name = if host.is_socket_directory() { "localhost" } else { &host.name };
        Ok(passfile::password_for(&text, name, host.port, &self.config.dbname, &self.config.user)
            .map(Password))
    }
}

/// A pooler that swallows the startup parameter is found here: it passes the command on to an ordinary
/// backend, which can't parse it.
async fn knows_replication(channel: &mut Channel) -> Result<(), Error> {
    match session::query(channel, "IDENTIFY_SYSTEM").await {
        Ok(_) => Ok(()),
        Err(error) if error.sqlstate.as_deref() == Some("42601") => {
            Err(Error::retry_slowly("what answers does not know replication")
                .hint(POOLER_HINT)
                .caused_by(error))
        }
        Err(error) => Err(error),
    }
}

/// Of several failures, the first that somebody must mend, else the last.
fn most_telling(mut failures: Vec<(&Host, Error)>) -> Error {
    let every: Vec<String> =
        failures.iter().map(|(host, error)| format!("{} port {}: {error}", host.name, host.port)).collect();
    let at = failures.iter().position(|(_, error)| error.verdict != Verdict::Retry);
    let at = at.unwrap_or(failures.len().saturating_sub(1));
    if failures.is_empty() {
        return Error::retry_slowly("the host name has no address").hint("Check host.");
    }
    let (host, error) = failures.swap_remove(at);
    let act = format!("could not connect to the source at \"{}\" port {}", host.name, host.port);
    let error = error.while_doing(&act);
    if every.len() > 1 { error.detail(every.join("; ")) } else { error }
}
