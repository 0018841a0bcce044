//! Our own replication session, which tokio-postgres does not have: commands, then a
//! [stream](super::streaming).
//!
//! It moves bytes and says nothing about what they mean: that is the wire module's.

use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use fallible_iterator::FallibleIterator;

use super::channel::{Channel, unexpected};
use super::failure;
use super::streaming::Streaming;
use crate::error::Error;

/// A walsender's session in the source's database. Dropping it closes the connection.
pub struct ReplicationSession {
    channel: Channel,
}

impl ReplicationSession {
    pub(super) fn new(channel: Channel) -> Self {
        ReplicationSession { channel }
    }

    /// Runs one command by the simple query protocol (IDENTIFY_SYSTEM, CREATE_REPLICATION_SLOT,
    /// plain SQL) and returns its rows as text. Not cancel-safe: after a cancelled call, drop the
    /// session.
    ///
    /// # Errors
    /// The first error that the source reports; the session is then ready for the next command.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        query(&mut self.channel, sql).await
    }

    /// Sends START_REPLICATION and waits until the stream is open. Not cancel-safe.
    pub async fn start_replication(&mut self, command: &str) -> Result<(), Error> {
        send_query(&mut self.channel, command).await?;
        match self.channel.frame().await {
            // CopyBothResponse
            Ok(frame) if frame.tag == b'W' => Ok(()),
            Ok(frame) => Err(unexpected(frame.tag)),
            Err(refused) => {
                // A report leaves the session usable; what broke the connection doesn't.
                if refused.sqlstate.is_some() {
                    until_ready(&mut self.channel).await.ok();
                }
                Err(refused)
            }
        }
    }

    /// The stream, once [start_replication](Self::start_replication) opened it.
    pub fn into_streaming(self) -> Result<Streaming, Error> {
        let (stream, inbox) = self.channel.into_parts();
        Streaming::new(stream, inbox).map_err(failure::io_failure)
    }

    /// A parameter that the server reported: `server_version`, `TimeZone`, …
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.channel.parameters.get(name).map(String::as_str)
    }

    /// The walsender's process id, as in pg_stat_replication.
    pub fn backend_pid(&self) -> i32 {
        self.channel.backend_pid
    }
}

/// [ReplicationSession::query], for a session that is still being prepared.
pub(super) async fn query(channel: &mut Channel, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
    send_query(channel, sql).await?;
    let mut rows = Vec::new();
    loop {
        let message = match channel.message().await {
            Ok(message) => message,
            Err(refused) if refused.sqlstate.is_some() => {
                until_ready(channel).await.ok();
                return Err(refused);
            }
            Err(broken) => return Err(broken),
        };
        match message {
            Message::DataRow(row) => {
                let text = |range: Option<std::ops::Range<usize>>| {
                    range.map(|range| String::from_utf8_lossy(&row.buffer()[range]).into_owned())
                };
                let broken = |error: std::io::Error| unexpected(b'D').caused_by(error);
                rows.push(row.ranges().map(|range| Ok(text(range))).collect().map_err(broken)?);
            }
            Message::RowDescription(_) | Message::CommandComplete(_) | Message::EmptyQueryResponse => {}
            Message::ReadyForQuery(_) => return Ok(rows),
            _ => {
                return Err(Error::stop(
                    "the source answered a query with a message that has no place there",
                ));
            }
        }
    }
}

async fn send_query(channel: &mut Channel, sql: &str) -> Result<(), Error> {
    frontend::query(sql, channel.outbox())
        .map_err(|error| Error::stop("a command for the source can't be sent").caused_by(error))?;
    channel.flush().await
}

async fn until_ready(channel: &mut Channel) -> Result<(), Error> {
    while channel.frame().await?.tag != b'Z' {}
    Ok(())
}
