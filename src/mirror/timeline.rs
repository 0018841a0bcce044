//! A timeline's history, as TIMELINE_HISTORY sends it: which timelines came before, and where each
//! was left.

use crate::wire::Lsn;

/// Empty: timeline 1, or unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History(Vec<(u32, Lsn)>);

impl History {
    /// Lines of number, position and reason, the oldest first; others (blank, comments) are passed
    /// over.
    pub fn parse(text: &str) -> History {
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        };
        History(text.lines().filter_map(line).collect())
    }

    /// Where that timeline was left for the next one; None: it is none of the ancestors.
    pub fn left(&self, timeline: u32) -> Option<Lsn> {
        self.0.iter().find(|(number, _)| *number == timeline).map(|(_, left)| *left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ancestor_is_left_where_its_line_says() {
        let text =
            "1\t0/3000148\tno recovery target specified\n\n# a comment\n2\t1/A0\tat restore point \"x\"\n";
        let history = History::parse(text);
        assert_eq!(history.left(1), Some(Lsn(0x0300_0148)));
        assert_eq!(history.left(2), Some(Lsn(0x1_0000_00A0)));
        assert_eq!(history.left(3), None);
    }

    #[test]
    fn what_is_no_history_tells_nothing() {
        for text in ["", "1", "1 nonsense", "x 0/1", "-1\t0/1"] {
            assert_eq!(History::parse(text), History::default(), "{text}");
        }
    }
}
