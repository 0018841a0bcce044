//! Sessions on a real source: each sslmode, each kind of authentication, several hosts, the stream;
//! and on peers that misbehave.

#[path = "../wire/sent.rs"]
mod sent;

mod backlog;
mod cluster;
mod fake;
mod hostile;
mod lease;
mod limits;
mod odd;
mod played;
mod recorded;
mod seeds;
mod servers;
mod settings;
mod stream;

use odoo_mirror::config::SourceConfig;
use odoo_mirror::source::connect::{Connector, Password};

fn connector(config: &str, password: Option<&str>) -> Connector {
    let config = SourceConfig::parse(config).unwrap_or_else(|error| panic!("{config}: {error}"));
    Connector::new(config, password.map(Password::new))
}
