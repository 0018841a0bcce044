//! How far a mirrored table is, and why one failed: what the mirror decides by, beside the words
//! that people read.

use super::quote::quote_literal;

/// The state of a mirrored table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableState {
    /// Ranges of a copy are missing.
    Copying,
    /// All ranges are in; the stream has not passed the last snapshot yet.
    CatchingUp,
    /// Its rows are compared with the source's, and mended.
    Reconciling,
    /// It shows the source as of the applied commit.
    Ready,
    /// It alone stands still, for this reason.
    Failed(Failure),
}

/// Why a table failed. It says what must be otherwise before the table may go on; [`Failure::cure`]
/// says who looks whether it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The source's table fails a check, or can have no mirror as it is.
    Unsuitable,
    /// The publication has it no longer.
    NotPublished,
    /// Another table of the source is mirrored under the name that it would have here.
    NameTaken,
    /// Something of somebody's here is in the way of making or altering the mirror's table.
    InTheWay,
    /// Somebody altered the mirror's table.
    Altered,
    /// The mirror's table refuses rows.
    Refused,
    /// The source didn't give its rows.
    Unreadable,
    /// A row is larger than the source can send.
    TooBig,
}

/// How it is found out that the cause of a failure is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// A look at the source shows it: the table is taken in as soon as it passes all checks.
    Look,
    /// Only taking it in shows it: that is tried again and again.
    Trial,
    /// The mirror's table shows it, or a row that is applied and undone.
    Here,
    /// Nothing shows it but a change of the source's table.
    Change,
}

const FAILURES: [(Failure, &str, Cure); 8] = [
    (Failure::Unsuitable, "unsuitable", Cure::Look),
    (Failure::NotPublished, "not_published", Cure::Look),
    (Failure::NameTaken, "name_taken", Cure::Look),
    (Failure::InTheWay, "in_the_way", Cure::Look),
    (Failure::Altered, "altered", Cure::Here),
    (Failure::Refused, "refused", Cure::Here),
    (Failure::Unreadable, "unreadable", Cure::Trial),
    (Failure::TooBig, "too_big", Cure::Change),
];

impl Failure {
    fn entry(self) -> &'static (Failure, &'static str, Cure) {
        // Every variant is listed; the test below sees to it.
        FAILURES.iter().find(|(failure, ..)| *failure == self).unwrap_or(&FAILURES[0])
    }

    /// As it is kept.
    pub fn as_str(self) -> &'static str {
        self.entry().1
    }

    pub fn cure(self) -> Cure {
        self.entry().2
    }

    fn parse(text: &str) -> Option<Failure> {
        FAILURES.iter().find(|(_, name, _)| *name == text).map(|(failure, ..)| *failure)
    }

    /// What is to be done about it, where the error itself doesn't say.
    pub fn hint(self, table: &str) -> String {
        match (self, self.cure()) {
            (Failure::Refused, _) | (_, Cure::Look | Cure::Trial) => {
                "Mend that: the table goes on by itself within 30 seconds.".to_owned()
            }
            _ => format!("Mend that, then SELECT odoo_mirror.resync({});", quote_literal(table)),
        }
    }

    /// What it means that the destination said this of a table's rows. Without an SQLSTATE the
    /// mirror itself found that its table is not as it made it.
    pub fn of_refusal(sqlstate: Option<&str>) -> Failure {
        match sqlstate {
            // No such column, table, or unique index; another type.
            None | Some("42703" | "42P01" | "42P10" | "42804") => Failure::Altered,
            Some(_) => Failure::Refused,
        }
    }
}

impl TableState {
    /// As status() and tables() show it.
    pub fn as_str(self) -> &'static str {
        match self {
            TableState::Copying => "copying",
            TableState::CatchingUp => "catching_up",
            TableState::Reconciling => "reconciling",
            TableState::Ready => "ready",
            TableState::Failed(_) => "failed",
        }
    }

    /// From what is kept; None for what no version of the mirror writes.
    pub fn parse(state: &str, failure: Option<&str>) -> Option<TableState> {
        Some(match state {
            "copying" => TableState::Copying,
            "catching_up" => TableState::CatchingUp,
            "reconciling" => TableState::Reconciling,
            "ready" => TableState::Ready,
            "failed" => TableState::Failed(Failure::parse(failure?)?),
            _ => return None,
        })
    }

    pub fn is_failed(self) -> bool {
        self.failure().is_some()
    }

    pub fn failure(self) -> Option<Failure> {
        match self {
            TableState::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Nothing is under way: it is ready, or stands still.
    pub fn is_settled(self) -> bool {
        matches!(self, TableState::Ready | TableState::Failed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        use TableState::*;
        let failed = FAILURES.iter().map(|(failure, ..)| Failed(*failure));
        for state in [Copying, CatchingUp, Reconciling, Ready].into_iter().chain(failed) {
            let failure = state.failure().map(Failure::as_str);
            assert_eq!(TableState::parse(state.as_str(), failure), Some(state));
        }
        assert_eq!(TableState::parse("failed", None), None);
        assert_eq!(TableState::parse("ready", None), Some(Ready));
        assert_eq!(TableState::parse("absent", None), None);
    }

    #[test]
    fn every_failure_has_an_entry_and_a_name_of_its_own() {
        // A new variant makes this fail to compile until it is listed here.
        let place = |failure| match failure {
            Failure::Unsuitable => 0,
            Failure::NotPublished => 1,
            Failure::NameTaken => 2,
            Failure::InTheWay => 3,
            Failure::Altered => 4,
            Failure::Refused => 5,
            Failure::Unreadable => 6,
            Failure::TooBig => 7,
        };
        for (index, (failure, name, _)) in FAILURES.iter().enumerate() {
            assert_eq!((place(*failure), failure.as_str()), (index, *name));
            assert_eq!(Failure::parse(name), Some(*failure));
        }
    }

    #[test]
    fn a_table_that_is_not_as_it_was_made_is_told_from_one_that_refuses_rows() {
        for altered in [None, Some("42703"), Some("42P01"), Some("42P10"), Some("42804")] {
            assert_eq!(Failure::of_refusal(altered), Failure::Altered, "{altered:?}");
        }
        for refused in ["23514", "23505", "P0001", "22003", "42501", "09000", "XX000"] {
            assert_eq!(Failure::of_refusal(Some(refused)), Failure::Refused, "{refused}");
        }
    }
}
