//! From a configuration to a session that is ready for work: the hosts in turn, their addresses,
//! TLS, authentication, and the settings that every session of ours has.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::authentication::{self, Proof};
use super::certificates;
use super::channel::Channel;
use super::failure;
use super::session::{self, ReplicationSession};
use super::socket::{self, Stream};
pub use super::sql::Sql;
use super::tls;
use crate::config::allowed::AllowedSources;
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
#[derive(Debug, Clone)]
pub struct Connector {
    config: SourceConfig,
    password: Option<Password>,
    /// A secret of this server's own; so is the configuration's passfile.
    server_password: Option<Password>,
    /// The certificates themselves, where sslrootcert names no file.
    certificates: Option<String>,
    /// None: a superuser wrote the configuration.
    limits: Option<Limits>,
}

/// What holds where the configuration was written by somebody who is no superuser. The worker may
/// do what its author may not, so it connects only as the author could: with a password that was
/// asked for, over the network, to servers that a superuser leaves open.
#[derive(Debug, Clone)]
pub struct Limits {
    pub allowed: AllowedSources,
    /// Where sslrootcert may lie.
    pub certificate_directory: Option<String>,
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
    /// As a superuser configured it, with a password of the author's own.
    pub fn new(config: SourceConfig, password: Option<Password>) -> Self {
        Connector { config, password, server_password: None, certificates: None, limits: None }
    }

    /// With a password of this server's own, which goes only where a superuser lets it.
    #[must_use]
    pub fn server_password(mut self, password: Option<Password>) -> Self {
        self.server_password = password;
        self
    }

    /// With these trusted certificates in PEM, in place of a file's.
    #[must_use]
    pub fn certificates(mut self, pem: Option<String>) -> Self {
        self.certificates = pem;
        self
    }

    /// As somebody configured it who is no superuser.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// What our sessions are called on the source.
    pub(super) fn application_name(&self) -> &str {
        &self.config.application_name
    }

    /// A session for ordinary SQL. Runs a task on the current tokio runtime, which ends with the
    /// session.
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
            Address::Unix(_) if self.limits.is_some() => return Err(not_allowed(host)),
            Address::Unix(path) => {
                Stream::Unix(UnixStream::connect(path).await.map_err(failure::io_failure)?)
            }
            Address::Tcp(address) => {
                self.check_allowed(host, *address, false)?;
                // Read before the network is touched: a wrong file isn't the network's fault.
                let roots = self.roots()?;
                let tcp = TcpStream::connect(address).await.map_err(failure::io_failure)?;
                let here = tcp.local_addr().is_ok_and(|own| own.ip() == address.ip());
                self.check_allowed(host, *address, here)?;
                socket::prepare(&tcp, &self.config).map_err(failure::io_failure)?;
                tls::negotiate(tcp, &host.name, &self.config, roots.as_deref()).await?
            }
        };
        let password = self.password_for(host, address)?;
        let mut channel = Channel::new(stream);
        let replication = kind == Kind::Replication;
        let proof =
            authentication::log_in(&mut channel, &self.config, password.as_ref(), replication).await?;
        if self.limits.is_some() && proof != Proof::Password {
            return Err(no_proof());
        }
        self.settle(&mut channel, kind).await?;
        if replication {
            knows_replication(&mut channel).await?;
        }
        Ok(channel)
    }

    /// `here`: the address is one of this machine's own.
    fn check_allowed(&self, host: &Host, address: SocketAddr, here: bool) -> Result<(), Error> {
        match &self.limits {
            Some(limits) if !limits.allowed.allow(host, address.ip(), here) => Err(not_allowed(host)),
            _ => Ok(()),
        }
    }

    /// The trusted certificates in PEM; None: none are asked for.
    fn roots(&self) -> Result<Option<Vec<u8>>, Error> {
        if let Some(pem) = &self.certificates {
            return Ok(Some(pem.clone().into_bytes()));
        }
        let Some(path) = self.config.sslrootcert.as_deref() else { return Ok(None) };
        if let Some(limits) = &self.limits {
            let directory = limits.certificate_directory.as_deref();
            if !directory.is_some_and(|directory| certificates::is_within(path, directory)) {
                return Err(certificates::unusable());
            }
        }
        certificates::read(path).map(Some)
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

    /// Whether a secret of this server's may go there: a superuser wrote the configuration, or
    /// listed what it leads to.
    fn trusts_with_secrets(&self, host: &Host, address: &Address) -> bool {
        match (&self.limits, address) {
            (None, _) => true,
            (Some(limits), Address::Tcp(address)) => limits.allowed.lists(host, address.ip()),
            (Some(_), Address::Unix(_)) => false,
        }
    }

    /// The author's own password, else one of this server's, if that may go there.
    fn password_for(&self, host: &Host, address: &Address) -> Result<Option<Password>, Error> {
        if self.password.is_some() {
            return Ok(self.password.clone());
        }
        if !self.trusts_with_secrets(host, address) {
            return Ok(None);
        }
        let (None, Some(path)) = (&self.server_password, &self.config.passfile) else {
            return Ok(self.server_password.clone());
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

fn not_allowed(host: &Host) -> Error {
    Error::retry_slowly(format!(
        "\"{}\" is not a source that a role without superuser rights may name",
        host.name
    ))
    .detail(
        "This server itself, its Unix sockets and link-local addresses are never one, unless \
             odoo_mirror.allowed_sources lists the address.",
    )
    .hint("Let a superuser add it to odoo_mirror.allowed_sources, or call configure() as a superuser.")
}

fn no_proof() -> Error {
    Error::retry_slowly(
        "the source asked for no password, and the role that called configure() is no superuser",
    )
    .hint(
        "Use scram-sha-256 for this user in pg_hba.conf on the source, and give configure() a \
             password_secret; or let a superuser call configure().",
    )
}

/// A pooler that swallows the startup parameter is found here: it passes the command on to an
/// ordinary backend, which can't parse it.
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
