//! A source that says, turn by turn, what a script of bytes holds: what the fuzzer makes up, and
//! what was recorded of a real one.
//!
//! A script is a byte of options and the turns, each with its length in two bytes. The first turn
//! answers the startup message; each other one, what waits for an answer.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use odoo_mirror::config::SourceConfig;
use odoo_mirror::error::Error;
use odoo_mirror::mirror::source_table::SourceTable;
use odoo_mirror::source::catalog;
use odoo_mirror::source::connect::{Connector, Password};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

const SECRET: &str = "never-in-the-clear";

/// Stands in a script for the nonce that the client made up, and is as long.
const NONCE: &[u8; 24] = b"clientclientclientclient";

/// Who waits so often for the client, and sees nothing, says what comes next.
const PATIENCE: u32 = 12;

/// As the script has it: the last turn may be cut off.
fn turns(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut turns = Vec::new();
    while let [high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        turns.push(rest[..length].to_vec());
        bytes = &rest[length..];
    }
    turns
}

/// A script of these turns.
pub fn script(options: u8, turns: &[Vec<u8>]) -> Vec<u8> {
    let mut script = vec![options];
    for turn in turns {
        // One that is longer goes in two.
        for part in turn.chunks(usize::from(u16::MAX)) {
            script.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
            script.extend_from_slice(part);
        }
    }
    script
}

/// Where a source listens, until dropped.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn new() -> Place {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let (process, place) = (std::process::id(), PLACES.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(format!("odoo_mirror-played-{process}-{place}"));
        std::fs::create_dir_all(&directory).unwrap();
        Place { directory }
    }

    fn listener(&self) -> UnixListener {
        UnixListener::bind(self.directory.join(".s.PGSQL.5432")).unwrap()
    }

    fn connector(&self, settings: &str, password: bool) -> Connector {
        let config = format!("host={} dbname=d user=u {settings}", self.directory.display());
        let password = password.then(|| Password::new(SECRET));
        Connector::new(SourceConfig::parse(&config).unwrap(), password)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

/// Says what the script holds, turn by turn, and hangs up; what the client said is kept.
async fn play(mut peer: UnixStream, turns: Vec<Vec<u8>>, heard: Rc<RefCell<Vec<u8>>>) {
    for turn in turns {
        listen(&mut peer, &heard).await;
        let turn = with_nonce(turn, &heard.borrow());
        if peer.write_all(&turn).await.is_err() {
            return;
        }
    }
    // What the client still says is heard, so that it meets the end and no broken pipe.
    peer.shutdown().await.ok();
    listen(&mut peer, &heard).await;
}

/// Until the client has said something and no more comes, or says nothing: it may be waiting for
/// the rest of a message.
async fn listen(peer: &mut UnixStream, heard: &RefCell<Vec<u8>>) {
    let mut waited = 0;
    while waited < PATIENCE {
        let mut piece = [0; 8_192];
        match peer.try_read(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                heard.borrow_mut().extend_from_slice(&piece[..count]);
                waited = PATIENCE / 2;
            }
            Err(_) => {
                waited += 1;
                tokio::task::yield_now().await;
            }
        }
    }
}

fn with_nonce(mut turn: Vec<u8>, heard: &[u8]) -> Vec<u8> {
    let at = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).position(|part| part == wanted);
    let nonce = at(heard, b"n=,r=").and_then(|at| heard.get(at + 5..at + 5 + NONCE.len()));
    if let (Some(nonce), Some(at)) = (nonce, at(&turn, NONCE)) {
        turn[at..at + NONCE.len()].copy_from_slice(nonce);
    }
    turn
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
}

/// What a client makes of a source that plays these turns, and what it said to it.
fn met<T>(
    (settings, password): (&str, bool),
    turns: Vec<Vec<u8>>,
    client: impl AsyncFnOnce(&Connector) -> Result<T, Error>,
) -> (Result<T, Error>, Vec<u8>) {
    let place = Place::new();
    let heard = Rc::new(RefCell::new(Vec::new()));
    let outcome = RUNTIME.with(|runtime| {
        let _entered = runtime.enter();
        let (listener, connector) = (place.listener(), place.connector(settings, password));
        let source = async {
            // Who is told to connect nowhere comes never.
            if let Ok((peer, _)) = listener.accept().await {
                play(peer, turns, Rc::clone(&heard)).await;
            }
            // The session goes on until the client has seen the end of it.
            std::future::pending::<()>().await;
        };
        runtime.block_on(async {
            tokio::select! {
                () = source => unreachable!(),
                outcome = client(&connector) => outcome,
            }
        })
    });
    (outcome, heard.take())
}

/// Whoever reads it is told in few words, and nothing that a terminal obeys.
fn is_fit_to_be_shown(error: &Error) {
    for told in [Some(&error.message), error.detail.as_ref(), error.hint.as_ref()].into_iter().flatten() {
        assert!(told.len() < 20_000, "{} bytes", told.len());
        assert!(!told.contains(|c: char| c.is_control() && !"\n\t".contains(c)), "{told:?}");
        assert!(!told.contains(SECRET), "{told}");
    }
}

/// The greeting and the login, and the answer to a first query.
pub fn greeting(script: &[u8]) -> Option<Result<(), Error>> {
    let (options, rest) = script.split_first()?;
    let require = ["", "require_auth=md5", "require_auth=password", "require_auth=none"];
    let settings = require[usize::from(options >> 2 & 3)];
    let (outcome, said) = met((settings, options & 2 != 0), turns(rest), async |connector| {
        if options & 1 != 0 {
            return connector.replication().await?.query("SELECT 1").await.map(drop);
        }
        Ok(connector.sql().await?.simple_query("SELECT 1").await.map(drop)?)
    });
    let secret = said.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    assert!(!secret, "the password goes out in the clear, without TLS");
    if let Err(error) = &outcome {
        is_fit_to_be_shown(error);
    }
    Some(outcome)
}

/// The rows of the source's catalog, to a client that was let in.
pub fn catalog(script: &[u8]) -> Option<Result<Vec<SourceTable>, Error>> {
    let (_, rest) = script.split_first()?;
    let mut all = greeted();
    all.extend(turns(rest));
    let (outcome, _) = met(("", false), all, async |connector| {
        let session = connector.sql().await?;
        catalog::published_tables(&session, "p", &["left_out".to_owned()]).await
    });
    if let Err(error) = &outcome {
        is_fit_to_be_shown(error);
    }
    Some(outcome)
}

/// The turns of a source that lets anybody in.
pub fn greeted() -> Vec<Vec<u8>> {
    let ready = b"Z\0\0\0\x05I";
    vec![[&b"R\0\0\0\x08\0\0\0\0"[..], ready].concat(), [&b"C\0\0\0\x07OK\0"[..], ready].concat()]
}
