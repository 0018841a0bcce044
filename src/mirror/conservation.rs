//! The law that no change is lost or counted twice: received + split = applied + folded + skipped +
//! filtered + missing + quarantined.

/// Where one table's changes of one batch went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    pub received: u64,
    pub split: u64,
    pub applied: u64,
    pub folded: u64,
    pub skipped: u64,
    pub filtered: u64,
    pub missing: u64,
    pub quarantined: u64,
}

impl Terms {
    /// Changes that nothing accounts for; below zero, those that were counted twice. 0: the law
    /// holds.
    pub fn gap(&self) -> i64 {
        let went =
            self.applied + self.folded + self.skipped + self.filtered + self.missing + self.quarantined;
        (self.received + self.split).cast_signed().wrapping_sub(went.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_accounts_for_is_the_gap() {
        let whole = Terms {
            received: 9,
            split: 1,
            applied: 4,
            folded: 2,
            skipped: 1,
            filtered: 1,
            missing: 1,
            quarantined: 1,
        };
        assert_eq!(whole.gap(), 0);
        assert_eq!(Terms { applied: 3, ..whole }.gap(), 1);
        assert_eq!(Terms { quarantined: 3, ..whole }.gap(), -2);
    }
}
