//! A network that fails on demand: a TCP proxy in front of a server.

use super::eventually;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// How often a pump looks up from a silent socket.
const TICK: Duration = Duration::from_millis(10);

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// In good order: the other side reads an end of file.
    Fin,
    /// Abruptly: "connection reset by peer".
    Reset,
}

/// Forwards every connection to one server. What it does to them can be changed at any time;
/// dropping it cuts them all.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    acceptor: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    target: u16,
    /// Connections of an earlier era have been cut.
    era: AtomicU64,
    reset: AtomicBool,
    frozen: AtomicBool,
    /// So many of the first connections are frozen, whatever happens to later ones.
    frozen_first: AtomicUsize,
    refusing: AtomicBool,
    /// No listener right now.
    closed: AtomicBool,
    finished: AtomicBool,
    delay_micros: AtomicU64,
    accepted: AtomicUsize,
    /// Of each open connection, its era.
    open: Mutex<Vec<u64>>,
    forwarded: AtomicU64,
}

impl Proxy {
    /// In front of the server on `target`, this machine's port.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State { target, ..State::default() });
        let acceptor = thread::spawn({
            let state = Arc::clone(&state);
            move || state.accept(port, listener)
        });
        Self { port, state, acceptor: Some(acceptor) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every open connection, on both of its sides. New ones are welcome.
    pub fn cut(&self, how: Cut) {
        self.state.reset.store(how == Cut::Reset, SeqCst);
        let era = self.state.era.fetch_add(1, SeqCst) + 1;
        // Those who were cut may be back already.
        let old = || self.state.open().iter().any(|of| *of < era);
        eventually("the connections are cut", Duration::from_secs(10), || (!old()).then_some(()));
    }

    /// Silent death: nothing passes any more in either direction, and nobody is told. New
    /// connections are taken, and are as silent. `thaw()` delivers what was held back.
    pub fn freeze(&self) {
        self.state.frozen.store(true, SeqCst);
    }

    /// As [`freeze`](Self::freeze), of the connections that are open now; new ones work.
    pub fn freeze_open(&self) {
        self.state.frozen_first.store(self.accepted(), SeqCst);
    }

    pub fn thaw(&self) {
        self.state.frozen.store(false, SeqCst);
        self.state.frozen_first.store(0, SeqCst);
    }

    /// Holds each piece (at most 16 kB) back for that long, one after the other.
    pub fn slow_down(&self, by: Duration) {
        self.state.delay_micros.store(by.as_micros() as u64, SeqCst);
    }

    /// "Connection refused" for new connections; open ones go on.
    pub fn refuse(&self) {
        self.state.refusing.store(true, SeqCst);
        eventually("the listener is closed", Duration::from_secs(10), || {
            self.state.closed.load(SeqCst).then_some(())
        });
    }

    pub fn welcome(&self) {
        self.state.refusing.store(false, SeqCst);
        eventually("the listener is open", Duration::from_secs(10), || {
            (!self.state.closed.load(SeqCst)).then_some(())
        });
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(SeqCst)
    }

    /// How many there are now.
    pub fn open(&self) -> usize {
        self.state.open().len()
    }

    /// Bytes that have passed, both directions together.
    pub fn forwarded(&self) -> u64 {
        self.state.forwarded.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.era.fetch_add(1, SeqCst);
        self.state.finished.store(true, SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn accept(self: Arc<Self>, port: u16, listener: TcpListener) {
        let mut listener = Some(listener);
        while !self.finished.load(SeqCst) {
            if self.refusing.load(SeqCst) {
                listener = None;
                self.closed.store(true, SeqCst);
            } else if listener.is_none() {
                listener = TcpListener::bind(("127.0.0.1", port)).ok();
                self.closed.store(listener.is_none(), SeqCst);
            }
            let accepted = listener.as_ref().and_then(|listener| {
                listener.set_nonblocking(true).expect("a socket of ours");
                listener.accept().ok()
            });
            match accepted {
                Some((client, _)) => self.join(client),
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Vec<u64>> {
        self.open.lock().expect("no thread panics while it holds this")
    }

    /// Puts a client through to the server; hangs up on it when the server isn't there.
    fn join(self: &Arc<Self>, client: TcpStream) {
        let era = self.era.load(SeqCst);
        let before = self.accepted.fetch_add(1, SeqCst);
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target)) else { return };
        for stream in [&client, &server] {
            stream.set_nonblocking(false).expect("a socket of ours");
            stream.set_nodelay(true).expect("a socket of ours");
            stream.set_read_timeout(Some(TICK)).expect("a socket of ours");
            stream.set_write_timeout(Some(TICK)).expect("a socket of ours");
        }
        self.open().push(era);
        let connection = Arc::new(Connection { state: Arc::clone(self), era, before, client, server });
        for upstream in [true, false] {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection.pump(upstream));
        }
    }
}

/// Two joined sockets; the last of its two pumps to leave closes both.
struct Connection {
    state: Arc<State>,
    era: u64,
    /// How many connections there were before it.
    before: usize,
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn pump(&self, upstream: bool) {
        let (mut from, mut to) =
            if upstream { (&self.client, &self.server) } else { (&self.server, &self.client) };
        let mut piece = [0; 16 * 1024];
        while self.lives() {
            if self.is_frozen() {
                thread::sleep(TICK);
                continue;
            }
            match from.read(&mut piece) {
                // An end of file passes on; the other direction may have more to say.
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(length) => {
                    let delay = self.state.delay_micros.load(SeqCst);
                    if delay > 0 {
                        thread::sleep(Duration::from_micros(delay));
                    }
                    if self.forward(&mut to, &piece[..length]).is_err() {
                        break;
                    }
                }
                Err(error) if waiting(&error) => {}
                Err(_) => break,
            }
        }
        self.end();
    }

    fn forward(&self, to: &mut impl Write, mut piece: &[u8]) -> std::io::Result<()> {
        while !piece.is_empty() {
            if !self.lives() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            if self.is_frozen() {
                thread::sleep(TICK);
                continue;
            }
            match to.write(piece) {
                Ok(length) => {
                    self.state.forwarded.fetch_add(length as u64, SeqCst);
                    piece = &piece[length..];
                }
                Err(error) if waiting(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_frozen(&self) -> bool {
        self.state.frozen.load(SeqCst) || self.before < self.state.frozen_first.load(SeqCst)
    }

    fn lives(&self) -> bool {
        self.state.era.load(SeqCst) == self.era
    }

    /// Wakes the other pump too. A reset needs the sockets closed with lingering off, and no
    /// farewell before.
    fn end(&self) {
        for stream in [&self.client, &self.server] {
            if !self.lives() && self.state.reset.load(SeqCst) {
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            } else {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.state.open();
        if let Some(place) = open.iter().position(|era| *era == self.era) {
            open.swap_remove(place);
        }
    }
}

fn waiting(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
