pub mod config;
pub mod error;
pub mod mirror;
pub mod source;
pub mod wire;
