//! The assembler against a model: whatever the history and wherever the batches are cut, applying
//! what the assembler hands over gives the source's rows.

#[path = "../wire/sent.rs"]
mod sent;

mod any;
mod drift;
mod drive;
mod epochs;
mod fed;
mod history;
mod keys;
mod mirror;
mod noted;
mod properties;
mod random;
mod rules;
mod scripted;
mod seeds;
mod source;
mod tables;
mod visibility;
