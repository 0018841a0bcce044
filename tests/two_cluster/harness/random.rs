//! Chance that can be repeated.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::ops::Range;

/// A generator that says its seed when the test that holds it fails. `ODOO_MIRROR_SEED` repeats a
/// run.
pub struct Rng {
    seed: u64,
    generator: SmallRng,
}

impl Rng {
    pub fn seeded(seed: u64) -> Self {
        let seed = match std::env::var("ODOO_MIRROR_SEED") {
            Ok(text) => text.parse().expect("ODOO_MIRROR_SEED is a number"),
            Err(_) => seed,
        };
        Self { seed, generator: SmallRng::seed_from_u64(seed) }
    }

    /// One that no variable decides, and that says nothing of itself.
    pub(super) fn unasked(seed: u64) -> Self {
        Self { seed, generator: SmallRng::seed_from_u64(seed) }
    }

    /// What repeats it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number in `range`.
    pub fn number(&mut self, range: Range<i64>) -> i64 {
        self.generator.random_range(range)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.generator.random_ratio(1, n)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.generator.random_range(0..from.len())]
    }

    /// Letters and digits that don't compress, so that a long one is stored out of line.
    pub fn text(&mut self, length: usize) -> String {
        (0..length).map(|_| self.generator.sample(rand::distr::Alphanumeric) as char).collect()
    }

    /// Another generator, for another thread.
    pub fn fork(&mut self) -> Self {
        Self { seed: self.seed, generator: SmallRng::seed_from_u64(self.generator.random()) }
    }
}

impl Drop for Rng {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with ODOO_MIRROR_SEED={}", self.seed);
        }
    }
}
