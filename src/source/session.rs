//! Our own replication session. Signatures first; the bodies follow.

use crate::error::Error;

pub struct ReplicationSession;

impl ReplicationSession {
    /// Runs one command by the simple query protocol; its rows as text.
    pub async fn query(&mut self, _sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        todo!()
    }

    /// Sends START_REPLICATION and waits until the stream is open.
    pub async fn start_replication(&mut self, _command: &str) -> Result<(), Error> {
        todo!()
    }

    /// The next CopyData payload that is already here, without touching the socket.
    pub fn buffered(&mut self) -> Result<Option<&[u8]>, Error> {
        todo!()
    }

    /// Reads more from the socket; cancel-safe.
    pub async fn fill(&mut self) -> Result<(), Error> {
        todo!()
    }

    /// Sends one CopyData message; what a cancelled call didn't write goes out with the next one.
    pub async fn send(&mut self, _copy_data: &[u8]) -> Result<(), Error> {
        todo!()
    }

    pub fn parameter(&self, _name: &str) -> Option<&str> {
        todo!()
    }

    pub fn backend_pid(&self) -> i32 {
        todo!()
    }
}
