//! Tables that have to wait for somebody on the source, say for whom, and keep nobody else waiting.

mod alone;
mod writers;

use crate::harness::Pair;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// What status() says that this table waits for.
fn waits_for(pair: &Pair, table: &str) -> String {
    let told = pair.wait_status(&format!("{table} waits"), |status| status["waits"][table].is_string());
    told["waits"][table].as_str().unwrap_or_default().to_owned()
}
