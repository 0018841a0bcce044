//! What the mirror holds: the same as the source, whatever was written there, however it came,
//! whatever died meanwhile. What the mirror says about itself, and how it lives and dies, are other
//! modules' matter.

mod apply;
mod apply_large;
mod copying;
mod executor;
mod identities;
mod odoo;
mod partitions;
mod publications;
mod refusals;
mod scenarios;
mod tables;
mod truncate;
mod types;
mod values;
mod writers;

use crate::harness::{Pair, PairBuilder};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Like `Pair::builder`, with new tables found within a second.
fn builder() -> PairBuilder {
    Pair::builder().mirror_conf("odoo_mirror.poll_interval", "1")
}

/// Like `Pair::mirroring`, with new tables found within a second.
#[track_caller]
fn mirroring(schema: &str) -> Pair {
    let pair = builder().start();
    begin(&pair, schema);
    pair
}

/// Runs `schema` on the source, publishes all of it, and waits until it is mirrored.
#[track_caller]
fn begin(pair: &Pair, schema: &str) {
    pair.on_source(schema);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
}

/// Sets a flag when it is dropped, in a panic too: a thread that runs until the flag is set always
/// ends.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
