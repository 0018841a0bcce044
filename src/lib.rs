pub mod config;
pub mod error;
pub mod mirror;
#[cfg(feature = "extension")]
pub mod pg;
pub mod source;
pub mod wire;
