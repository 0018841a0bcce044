//! The socket to one address of the source: TCP or Unix, with a peer's silent death in mind.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::config::SourceConfig;

// A peer that vanished without a word is found after idle + interval × count = 25 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_COUNT: u32 = 3;
/// Keepalives rest while something that we sent is unacknowledged; this finds the death then.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// What bytes go through.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Sets what keeps a connection quick and finds a dead peer.
pub(super) fn prepare(stream: &TcpStream, config: &SourceConfig) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if config.keepalives {
        let mut keepalive = TcpKeepalive::new();
        // Zero means the operating system's choice: then nothing is set.
        let chosen =
            |given: Option<Duration>, default| Some(given.unwrap_or(default)).filter(|time| !time.is_zero());
        if let Some(idle) = chosen(config.keepalives_idle, KEEPALIVE_IDLE) {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = chosen(config.keepalives_interval, KEEPALIVE_INTERVAL) {
            keepalive = keepalive.with_interval(interval);
        }
        match config.keepalives_count.unwrap_or(KEEPALIVE_COUNT) {
            0 => {}
            count => keepalive = keepalive.with_retries(count),
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    match config.tcp_user_timeout.unwrap_or(USER_TIMEOUT) {
        Duration::ZERO => {}
        timeout => socket.set_tcp_user_timeout(Some(timeout))?,
    }
    Ok(())
}

/// The same call on whichever stream it is.
macro_rules! on_stream {
    ($stream:expr, $call:ident ( $($argument:expr),* )) => {
        match $stream.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).$call($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$call($($argument),*),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).$call($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_read(cx, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_shutdown(cx))
    }
}
