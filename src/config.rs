//! Where the source is: a libpq connection string (keywords or URI), parsed and checked.
//!
//! Pure: nothing is opened or looked up here. A configuration never holds a password, and an error
//! names a key, never the value that was given for it.

use std::net::IpAddr;
use std::time::Duration;

use crate::error::Error;

pub mod allowed;
mod display;
mod keys;
mod keywords;
pub mod passfile;
mod uri;

/// What a connection string says, with defaults filled in.
///
/// [`Display`](std::fmt::Display) writes it as keywords that [parse](SourceConfig::parse) back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceConfig {
    /// At least one, in the order in which they are tried.
    pub hosts: Vec<Host>,
    pub dbname: String,
    pub user: String,
    pub sslmode: SslMode,
    /// An absolute path to trusted certificates in PEM, or `vault:` and the name of the secret that
    /// holds them. Always there under verify-ca and verify-full.
    pub sslrootcert: Option<String>,
    pub channel_binding: ChannelBinding,
    pub require_auth: RequireAuth,
    /// For one address, from the first packet to the end of authentication. Zero: for ever.
    pub connect_timeout: Option<Duration>,
    pub keepalives: bool,
    /// For these three, zero leaves the choice to the operating system.
    pub keepalives_idle: Option<Duration>,
    pub keepalives_interval: Option<Duration>,
    pub keepalives_count: Option<u32>,
    /// Zero leaves the choice to the operating system.
    pub tcp_user_timeout: Option<Duration>,
    pub application_name: String,
    /// An absolute path. Whoever reads it must have checked that its author may name files.
    pub passfile: Option<String>,
    pub target_session_attrs: TargetSessionAttrs,
}

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A name, an address, or (with a leading slash) the directory of a Unix socket. Certificates
    /// and the passfile are matched against it.
    pub name: String,
    /// From hostaddr: connect here, without a name service.
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl Host {
    pub fn is_socket_directory(&self) -> bool {
        self.name.starts_with('/')
    }
}

/// libpq's sslmode, without `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// libpq's channel_binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// libpq's require_auth: how the source may let us in. By default with SCRAM or without a question:
/// a password is given away as MD5 or in cleartext only where that is asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequireAuth {
    pub none: bool,
    pub password: bool,
    pub md5: bool,
    pub scram: bool,
}

impl Default for RequireAuth {
    fn default() -> Self {
        RequireAuth { none: true, password: false, md5: false, scram: true }
    }
}

/// libpq's target_session_attrs, as far as a mirror can use it. `Primary` and `ReadWrite` both
/// pass over a server in recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    Any,
    ReadWrite,
    Primary,
}

/// Why a connection string was refused. Never quotes a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    pub message: String,
    pub hint: Option<String>,
}

impl ConfigError {
    fn new(message: impl Into<String>) -> Self {
        ConfigError { message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ConfigError> for Error {
    fn from(refused: ConfigError) -> Self {
        let mut error = Error::retry_slowly(refused.message.clone());
        error.hint.clone_from(&refused.hint);
        error.caused_by(refused)
    }
}

impl SourceConfig {
    /// Reads `host=… dbname=…` or `postgres://user@host/dbname?…`.
    ///
    /// # Errors
    /// Anything that isn't understood, and every way to put a password into the string.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let settings = match uri::without_scheme(text) {
            Some(rest) => uri::settings(rest)?,
            None => keywords::settings(text)?,
        };
        keys::config(settings)
    }

    /// The secret in Vault that holds the trusted certificates, where sslrootcert names one.
    pub fn certificate_secret(&self) -> Option<&str> {
        self.sslrootcert.as_deref()?.strip_prefix("vault:")
    }

    /// Which servers and database are meant, however they are reached.
    pub fn address(&self) -> String {
        let host = |host: &Host| format!("{}:{}", host.name, host.port);
        format!("{}/{}", self.hosts.iter().map(host).collect::<Vec<_>>().join(","), self.dbname)
    }
}
