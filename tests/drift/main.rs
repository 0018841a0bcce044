//! The decision about drift, against a model of a source whose table changes at random while rows
//! are written: whatever it says needs no comparing must leave the mirror equal to the source. Any
//! other answer is right too, and counted.

mod cases;
mod checks;
mod mirror;
mod ops;
mod properties;
mod scripted;
mod seeds;
mod source;
mod types;
mod wording;
