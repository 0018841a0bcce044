pub mod mirror;
pub mod wire;
