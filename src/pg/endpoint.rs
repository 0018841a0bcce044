//! Keeps the metrics endpoint as the setting says, and gives it what to serve: from the main
//! thread, between its own work.

use std::cell::RefCell;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::board::{self, Text};
use super::{guc, network, owner, sql, transaction};
use crate::source::metrics_endpoint::{Board, Page, address, serve};

/// Figures are refreshed this often while somebody asks for them.
const REFRESH: Duration = Duration::from_millis(900);
/// Who asked so long ago no longer asks.
const FORGET: Duration = Duration::from_secs(90);

thread_local! {
    static ENDPOINT: RefCell<Endpoint> = RefCell::new(Endpoint::default());
}

#[derive(Default)]
struct Endpoint {
    setting: Option<String>,
    running: Option<Running>,
}

struct Running {
    page: Arc<Board>,
    _ends_with_this: oneshot::Sender<()>,
    published: Option<Instant>,
    asked: Option<Instant>,
}

/// As [`tend`], by whoever waits, which may be in a transaction: then nothing.
pub fn tend_between_transactions() {
    // SAFETY: reads this process's own state.
    if !unsafe { pgrx::pg_sys::IsTransactionState() } {
        tend();
    }
}

/// Called by the worker again and again, outside a transaction.
pub fn tend() {
    ENDPOINT.with_borrow_mut(|endpoint| {
        let setting = guc::text(&guc::METRICS_LISTEN);
        if endpoint.setting != setting {
            endpoint.running = None;
            endpoint.running = setting.as_deref().and_then(start);
            endpoint.setting = setting;
            if endpoint.setting.is_none() {
                board::write(|board| board.endpoint = Text::EMPTY);
            }
        }
        if let Some(running) = &mut endpoint.running {
            running.refresh();
        }
    });
}

fn start(setting: &str) -> Option<Running> {
    let listening = address(setting).and_then(|address| {
        let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let page = Arc::new(Board::default());
        let (ends, ended) = oneshot::channel();
        let served = Arc::clone(&page);
        network::spawn_quietly("odoo_mirror http", move || serve(listener, served, ended))
            .map_err(|error| error.to_string())?;
        Ok((address, Running { page, _ends_with_this: ends, published: None, asked: None }))
    });
    match listening {
        Ok((address, running)) => {
            board::write(|board| board.endpoint = Text::new(&format!("http://{address}/metrics")));
            Some(running)
        }
        Err(why) => {
            // The mirror goes on; doctor() and status() tell.
            pgrx::log!("odoo_mirror.metrics_listen: {why}");
            board::write(|board| board.endpoint = Text::new(&format!("not listening: {why}")));
            None
        }
    }
}

impl Running {
    fn refresh(&mut self) {
        if self.page.take_asked() {
            self.asked = Some(Instant::now());
        }
        let wanted = self.published.is_none() || self.asked.is_some_and(|asked| asked.elapsed() < FORGET);
        if !wanted || self.published.is_some_and(|published| published.elapsed() < REFRESH) {
            return;
        }
        self.published = Some(Instant::now());
        let metrics = transaction::transaction(|| {
            // Without the extension there is little to tell.
            if !owner::extension_is_here() {
                return Ok(None);
            }
            let there = sql::value(
                "SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'odoo_mirror' AND extversion = $1",
                &[Some(env!("CARGO_PKG_VERSION"))],
            )?;
            match there {
                Some(_) => sql::value("SELECT odoo_mirror.metrics_text()", &[]),
                None => Ok(None),
            }
        });
        let down = || "# HELP etl_up 1 while the mirror streams\n# TYPE etl_up gauge\netl_up 0\n".to_owned();
        let metrics = match metrics {
            Ok(metrics) => metrics.unwrap_or_else(down),
            Err(_) => {
                transaction::abort();
                down()
            }
        };
        let (state, message, lag) = board::read(|board| {
            (board.state, board.message.as_str().to_owned(), board.lag_seconds(board::now()))
        })
        .unwrap_or((board::State::Absent, String::new(), None));
        let healthy = state == board::State::Streaming && lag.is_some_and(|lag| lag <= 60.0);
        let health = serde_json::json!({
            "status": if healthy { "ok" } else { "unhealthy" },
            "state": state.name(),
            "lag_seconds": lag,
            "message": message,
        });
        let health = format!("{health}\n");
        self.page.publish(Page { metrics, healthy, health, at: Instant::now() });
    }
}
