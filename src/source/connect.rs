//! From a configuration to an authenticated session. Signatures first; the bodies follow.

use std::fmt;
use std::ops::Deref;

use crate::config::SourceConfig;
use crate::error::Error;
use crate::source::session::ReplicationSession;

/// A password, which no log, error or debug output ever shows.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    pub fn new(password: impl Into<String>) -> Self {
        Password(password.into())
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
    _config: SourceConfig,
    _password: Option<Password>,
}

impl Connector {
    pub fn new(config: SourceConfig, password: Option<Password>) -> Self {
        Connector { _config: config, _password: password }
    }

    pub async fn sql(&self) -> Result<Sql, Error> {
        todo!()
    }

    pub async fn replication(&self) -> Result<ReplicationSession, Error> {
        todo!()
    }
}

/// A session for ordinary SQL; its connection ends with it.
pub struct Sql {
    client: tokio_postgres::Client,
}

impl Deref for Sql {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        &self.client
    }
}
