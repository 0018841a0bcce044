//! A peer that says what the test wants: what a real server can't be made to say on purpose.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

pub fn error(sqlstate: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0C{sqlstate}\0M{text}\0\0").as_bytes())
}

/// Listens, and gives the configuration that leads there.
pub async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("host=127.0.0.1 port={port} dbname=d user=u sslmode=disable"))
}

/// Takes the startup message and answers it with these bytes.
pub async fn accept(listener: &TcpListener, answer: &[u8]) -> TcpStream {
    let (mut peer, _) = listener.accept().await.unwrap();
    let length = peer.read_u32().await.unwrap();
    let mut startup = vec![0; usize::try_from(length).unwrap() - 4];
    peer.read_exact(&mut startup).await.unwrap();
    peer.write_all(answer).await.unwrap();
    peer
}

/// Reads one whole message.
pub async fn receive(peer: &mut TcpStream) -> (u8, Vec<u8>) {
    let tag = peer.read_u8().await.unwrap();
    let length = peer.read_u32().await.unwrap();
    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
    peer.read_exact(&mut body).await.unwrap();
    (tag, body)
}

/// A server that lets anybody in, to the point where the stream is open.
pub async fn until_streaming(listener: &TcpListener) -> TcpStream {
    let ready = message(b'Z', b"I");
    let mut peer = accept(listener, &[message(b'R', &[0; 4]), ready.clone()].concat()).await;
    loop {
        let (tag, body) = receive(&mut peer).await;
        assert_eq!(tag, b'Q');
        if body.starts_with(b"START_REPLICATION") {
            peer.write_all(&message(b'W', &[0, 0, 0])).await.unwrap();
            return peer;
        }
        // Before it begins to stream it is asked how far its transaction ids are.
        let rows = if body.starts_with(b"SELECT pg_catalog.pg_snapshot_xmax") {
            [
                message(b'T', b"\0\x01xid\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"),
                message(b'D', b"\0\x01\0\0\0\x03100"),
            ]
            .concat()
        } else {
            Vec::new()
        };
        peer.write_all(&[rows, message(b'C', b"OK\0"), ready.clone()].concat()).await.unwrap();
    }
}
