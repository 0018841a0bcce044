//! A replication session once it streams: it never waits, so that whichever thread has time may
//! read it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::frontend;
use rustls::{ClientConnection, StreamOwned};
use tokio::io::Interest;

use super::channel::{Inbox, unexpected};
use super::failure;
use super::socket::Stream;
use crate::error::Error;

/// What bytes go through, never waiting.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// The same call on whichever socket it is.
macro_rules! on_socket {
    ($socket:expr, $name:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($name) => $call,
            Socket::Unix($name) => $call,
            Socket::Tls($name) => $call,
        }
    };
}

/// CopyData in both directions. Dropping it closes the connection.
pub struct Streaming {
    socket: Socket,
    inbox: Inbox,
    outbox: BytesMut,
    drained: bool,
}

impl Streaming {
    /// Takes the socket away from its runtime; what was read already stays in `inbox`.
    pub(super) fn new(stream: Stream, inbox: Inbox) -> io::Result<Streaming> {
        let socket = match stream {
            Stream::Tcp(stream) => Socket::Tcp(stream.into_std()?),
            Stream::Unix(stream) => Socket::Unix(stream.into_std()?),
            Stream::Tls(stream) => {
                let (stream, connection) = stream.into_inner();
                Socket::Tls(Box::new(StreamOwned::new(connection, stream.into_std()?)))
            }
        };
        Ok(Streaming { socket, inbox, outbox: BytesMut::new(), drained: false })
    }

    /// Lets this thread's runtime wait for the socket, until dropped.
    pub fn watch(&self) -> io::Result<Watch> {
        Ok(match &self.socket {
            Socket::Tcp(stream) => Watch::Tcp(stream.try_clone()?.try_into()?),
            Socket::Unix(stream) => Watch::Unix(stream.try_clone()?.try_into()?),
            Socket::Tls(stream) => Watch::Tcp(stream.sock.try_clone()?.try_into()?),
        })
    }

    /// A descriptor of the same socket, for another thread to wait on.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
            Socket::Tls(stream) => stream.sock.as_fd(),
        }
        .try_clone_to_owned()
    }

    /// The next CopyData payload that was read already; `None` when [fill](Self::fill) must read
    /// more.
    ///
    /// # Errors
    /// Whatever ends the stream: an error of the source by its SQLSTATE, the end of the stream
    /// (`Retry`), a message that has no place in it (`Stop`).
    pub fn buffered(&mut self) -> Result<Option<&[u8]>, Error> {
        while let Some(frame) = self.inbox.next_frame()? {
            match frame.tag {
                b'd' => return Ok(Some(self.inbox.body(&frame))),
                // Notices, notifications, parameters.
                b'N' | b'A' | b'S' => {}
                b'E' => return Err(failure::reported(self.inbox.body(&frame))),
                // CopyDone and CommandComplete: the source is shutting down and has sent
                // everything.
                b'c' | b'C' => return Err(Error::retry("the source ended the replication stream")),
                tag => return Err(unexpected(tag)),
            }
        }
        Ok(None)
    }

    /// Reads what the socket has: how many bytes, none if it has nothing.
    ///
    /// # Errors
    /// `Retry` when the connection is gone.
    pub fn fill(&mut self) -> Result<usize, Error> {
        let room = self.inbox.room()?;
        let size = room.len();
        loop {
            match on_socket!(&mut self.socket, socket => socket.read(room)) {
                Ok(0) => return Err(failure::closed()),
                Ok(count) => {
                    self.inbox.took(count);
                    self.drained = count < size && !matches!(self.socket, Socket::Tls(_));
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.drained = true;
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failure::io_failure(error)),
            }
        }
    }

    /// Whether the last [fill](Self::fill) took all that the socket had. Under TLS only an empty
    /// one says so: a record at a time is read.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Sends one CopyData message. What the socket doesn't take now goes with the next one, or with
    /// a [flush](Self::flush).
    pub fn send(&mut self, copy_data: &[u8]) -> Result<(), Error> {
        frontend::CopyData::new(copy_data)
            .map_err(|error| Error::stop("a reply to the source is too long").caused_by(error))?
            .write(&mut self.outbox);
        self.flush().map(drop)
    }

    /// Sends what the socket takes now. Whether that was all.
    pub fn flush(&mut self) -> Result<bool, Error> {
        match self.write() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(failure::io_failure(error)),
            Ok(()) => Ok(true),
        }
    }

    /// Ends the connection, also where other descriptors of the socket are open.
    pub fn close(&self) {
        let _ = match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
            Socket::Tls(stream) => stream.sock.shutdown(Shutdown::Both),
        };
    }

    fn write(&mut self) -> io::Result<()> {
        while self.outbox.has_remaining() {
            match on_socket!(&mut self.socket, socket => socket.write(&self.outbox)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.outbox.advance(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        on_socket!(&mut self.socket, socket => socket.flush())
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.close();
    }
}

/// The same socket, known to a runtime.
pub enum Watch {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Watch {
    /// Returns when there may be something to read.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Watch::Tcp(stream) => stream.readable().await,
            Watch::Unix(stream) => stream.readable().await,
        }
    }

    /// To be called when there was nothing to read, so that [`readable`](Self::readable) waits for
    /// more.
    pub fn has_nothing(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = match self {
            Watch::Tcp(stream) => stream.try_io(Interest::READABLE, nothing),
            Watch::Unix(stream) => stream.try_io(Interest::READABLE, nothing),
        };
    }
}
