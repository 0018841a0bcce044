//! The HTTP endpoint for Prometheus: serves what the main thread last published, from a thread of
//! its own.
//!
//! It shares nothing with replication but that text. Whatever comes in, it is bounded: a few
//! connections at a time, small headers, a few seconds each, one answer.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

/// Connections at a time; more are closed at once.
const CONNECTIONS: usize = 16;
/// How long a client may take to send its headers.
const HEADERS: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION: Duration = Duration::from_secs(10);
/// Bytes of headers.
const HEADER_BYTES: usize = 8 * 1024;
/// How long a scrape waits for figures that are fresh.
const FRESH_WITHIN: Duration = Duration::from_millis(1500);

/// What the main thread publishes.
#[derive(Debug, Clone)]
pub struct Page {
    pub metrics: String,
    /// Whether all is well, and a sentence.
    pub healthy: bool,
    pub health: String,
    pub at: Instant,
}

/// Where the two threads meet.
#[derive(Debug, Default)]
pub struct Board {
    page: Mutex<Option<Page>>,
    asked: AtomicBool,
}

impl Board {
    pub fn publish(&self, page: Page) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(page);
    }

    /// Whether somebody asked since this was last called.
    pub fn take_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    fn page(&self) -> Option<Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves until `ended` is dropped or told. To be run on a thread of its own, with signals blocked.
pub fn serve(listener: TcpListener, board: Arc<Board>, ended: oneshot::Receiver<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async move {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        tokio::select! {
            _ = ended => {}
            () = accept(listener, board) => {}
        }
    });
}

async fn accept(listener: tokio::net::TcpListener, board: Arc<Board>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, say: the server's other work needs them more.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let board = Arc::clone(&board);
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| answer(request, Arc::clone(&board)));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .max_buf_size(HEADER_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let _ = timeout(CONNECTION, connection).await;
        });
    }
}

async fn answer(request: Request<Incoming>, board: Arc<Board>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    if path != "/metrics" && path != "/health" {
        return Ok(plain(StatusCode::NOT_FOUND, "there is /metrics, and /health\n".to_owned()));
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned());
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    let page = fresh(&board).await;
    Ok(match (page, path) {
        (None, _) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "the mirror's worker has not answered yet\n".to_owned())
        }
        (Some(page), "/metrics") => {
            let age = page.at.elapsed().as_secs_f64();
            let text = format!(
                "{}# HELP etl_metrics_age_seconds How old these figures are: the worker may be inside a long statement\n\
                 # TYPE etl_metrics_age_seconds gauge\netl_metrics_age_seconds {age:.3}\n",
                page.metrics
            );
            typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        (Some(page), _) => {
            let status = if page.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            typed(status, "application/json", page.health)
        }
    })
}

/// What was published, waited for a moment if it is old.
async fn fresh(board: &Board) -> Option<Page> {
    board.asked.store(true, Ordering::Relaxed);
    let began = Instant::now();
    loop {
        let page = board.page();
        let is_fresh = page.as_ref().is_some_and(|page| page.at.elapsed() < Duration::from_secs(1));
        if is_fresh || began.elapsed() > FRESH_WITHIN {
            return page;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

/// Where to listen: a port, or host:port; the loopback unless told otherwise.
pub fn address(setting: &str) -> Result<std::net::SocketAddr, String> {
    let setting = setting.trim();
    if let Ok(port) = setting.parse::<u16>() {
        return Ok(([127, 0, 0, 1], port).into());
    }
    let setting = setting.replacen("localhost:", "127.0.0.1:", 1);
    setting.parse().map_err(|_| format!("\"{setting}\" is no address: 9090, 127.0.0.1:9090 or [::1]:9090"))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn a_port_alone_means_the_loopback() {
        assert_eq!(address("9090").map(|a| a.to_string()), Ok("127.0.0.1:9090".to_owned()));
        assert_eq!(address("localhost:91").map(|a| a.to_string()), Ok("127.0.0.1:91".to_owned()));
        assert_eq!(address("0.0.0.0:92").map(|a| a.to_string()), Ok("0.0.0.0:92".to_owned()));
        assert_eq!(address("[::1]:93").map(|a| a.to_string()), Ok("[::1]:93".to_owned()));
        for wrong in ["", "host", "99999", "1.2.3.4", "a:b"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
