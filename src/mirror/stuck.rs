//! A source that fails to decode its own WAL, at the same place each time: a publication that its
//! WAL there doesn't know, a row filter that fails for a row, a mistake of its own. Nothing that is
//! done now changes what lies there.

use crate::wire::Lsn;

/// How often it must fail at one place: meanwhile it may be something that passes.
const HOPELESS: u32 = 5;

#[derive(Debug, Default)]
pub struct Stuck {
    at: Lsn,
    why: String,
    times: u32,
}

impl Stuck {
    pub const fn new() -> Stuck {
        Stuck { at: Lsn::ZERO, why: String::new(), times: 0 }
    }

    /// The stream failed in these words with everything before `at` applied. Some: it is no use to
    /// try again, and why.
    pub fn failed(&mut self, at: Lsn, why: &str) -> Option<String> {
        if (self.at, self.why.as_str()) != (at, why) {
            *self = Stuck { at, why: why.to_owned(), times: 0 };
        }
        self.times += 1;
        (self.times >= HOPELESS).then(|| {
            self.times = 0;
            format!("the source can't decode its WAL past {at}: {why}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_failure_at_the_same_place_again_and_again_is_hopeless() {
        let mut stuck = Stuck::new();
        for at in 1..20 {
            assert_eq!(stuck.failed(Lsn(at), "a"), None, "it gets on");
        }
        for turn in 0..20 {
            assert_eq!(
                stuck.failed(Lsn(20), if turn % 2 == 0 { "a" } else { "b" }),
                None,
                "it is not the same"
            );
        }
        for _ in 1..HOPELESS {
            assert_eq!(stuck.failed(Lsn(0x21), "a"), None);
        }
        let told = stuck.failed(Lsn(0x21), "a");
        assert_eq!(told.as_deref(), Some("the source can't decode its WAL past 0/21: a"));
        assert_eq!(stuck.failed(Lsn(0x21), "a"), None, "a new slot is a new beginning");
    }
}
