//! A session for ordinary SQL: authenticated by us, then handed over to tokio-postgres.
//!
//! tokio-postgres can't be told to keep a cleartext password to itself, and has no eye for our
//! certificates. So it is given a stream that swallows its startup message and repeats the greeting
//! that we had.

use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls};

use super::channel::Channel;
use super::screen::Passing;
use super::socket::Stream;
use crate::error::Error;

/// A [`tokio_postgres::Client`] whose connection ends with it, at once and whatever it is doing.
pub struct Sql {
    client: Client,
    connection: JoinHandle<()>,
    backend_pid: i32,
    encoding: String,
}

impl Sql {
    /// Must run on a tokio runtime, which drives the connection.
    pub(super) async fn take_over(channel: Channel) -> Result<Self, Error> {
        let backend_pid = channel.backend_pid;
        let encoding = channel.parameters.get("server_encoding").cloned().unwrap_or_default();
        let greeting = greeting(&channel)?;
        let mut config = tokio_postgres::Config::new();
        // Swallowed, but without a name the library would ask the operating system.
        config.user("-").ssl_mode(SslMode::Disable);
        let stream = Greeted { stream: channel.into_parts().0, greeting, passing: Passing::after_greeting() };
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        let connection = tokio::spawn(async move {
            // Its failure reaches whoever waits for an answer.
            connection.await.ok();
        });
        Ok(Sql { client, connection, backend_pid, encoding })
    }

    /// The backend's process id, as in pg_stat_activity.
    pub fn backend_pid(&self) -> i32 {
        self.backend_pid
    }
}

impl Sql {
    /// Whether the database keeps its text in another encoding than UTF-8. Of SQL_ASCII nothing is
    /// known: its bytes are taken as they are, and the source itself refuses to send what is not
    /// UTF-8.
    pub fn recodes(&self) -> bool {
        !matches!(self.encoding.as_str(), "UTF8" | "SQL_ASCII")
    }
}

impl Deref for Sql {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// For transactions and for COPY, which need the client for themselves.
impl std::ops::DerefMut for Sql {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Sql {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// AuthenticationOk, the parameters as they are now, BackendKeyData, ReadyForQuery.
fn greeting(channel: &Channel) -> Result<BytesMut, Error> {
    let mut greeting = BytesMut::new();
    put(&mut greeting, b'R', &0i32.to_be_bytes())?;
    for (name, value) in &channel.parameters {
        put(&mut greeting, b'S', format!("{name}\0{value}\0").as_bytes())?;
    }
    let key = [channel.backend_pid.to_be_bytes(), channel.secret_key.to_be_bytes()].concat();
    put(&mut greeting, b'K', &key)?;
    put(&mut greeting, b'Z', b"I")?;
    Ok(greeting)
}

fn put(greeting: &mut BytesMut, tag: u8, body: &[u8]) -> Result<(), Error> {
    let length =
        i32::try_from(body.len() + 4).map_err(|_| Error::stop("a parameter of the source is too long"))?;
    greeting.put_u8(tag);
    greeting.put_i32(length);
    greeting.put_slice(body);
    Ok(())
}

/// While the greeting lasts, what is written is the startup message, which was sent long ago.
struct Greeted {
    stream: Stream,
    greeting: BytesMut,
    /// What the server says from here on is kept in memory by the library: it is bounded before.
    passing: Passing,
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.has_remaining() {
            let count = self.greeting.len().min(into.remaining());
            into.put_slice(&self.greeting.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if let Poll::Ready(Ok(())) = read {
            self.passing.pass(&into.filled()[before..])?;
        }
        read
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.greeting.has_remaining() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
