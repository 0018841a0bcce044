//! One look at one condition: what was found, and the SQL that mends it.
//!
//! Which conditions there are is [`super::prepare`]'s to say.

use crate::error::Error;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in two or three words.
    pub name: &'static str,
    pub ok: bool,
    /// What was found: lower case, no full stop; the error's message when it isn't ok.
    pub detail: String,
    /// The SQL to run on the source, or a sentence where no SQL helps.
    pub hint: Option<String>,
    pub stops: Stops,
    /// It goes away by itself.
    pub transient: bool,
}

/// What can't go on while a check isn't ok.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stops {
    Mirror,
    /// The mirror's first start; later each table fails that it concerns.
    FirstStart,
    Table {
        schema: String,
        name: String,
    },
    /// Nothing; it is only worth knowing.
    Nothing,
}

impl Check {
    pub(super) fn passed(name: &'static str, detail: impl Into<String>) -> Self {
        Check { name, ok: true, detail: detail.into(), hint: None, stops: Stops::Mirror, transient: false }
    }

    /// A failure that stops the whole mirror, unless told otherwise.
    pub(super) fn failed(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Check { ok: false, hint: Some(hint.into()), ..Self::passed(name, detail) }
    }

    pub(super) fn stopping(self, stops: Stops) -> Self {
        Check { stops, ..self }
    }

    pub(super) fn passing_by_itself(self) -> Self {
        Check { transient: true, ..self }
    }

    /// The error of a failed check that stops the whole mirror. `first`: it starts for the first
    /// time.
    pub fn stops_all(&self, first: bool) -> Option<Error> {
        let stops = self.stops == Stops::Mirror || first && self.stops == Stops::FirstStart;
        if stops { self.failure() } else { None }
    }

    /// The error of a check that isn't ok; None for one that is, or that stops nothing.
    pub fn failure(&self) -> Option<Error> {
        if self.ok || self.stops == Stops::Nothing {
            return None;
        }
        let error =
            if self.transient { Error::retry(&self.detail) } else { Error::retry_slowly(&self.detail) };
        Some(match &self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        })
    }
}

/// The first failure that stops the whole mirror. Those of single tables stop only these.
pub fn first_failure(checks: &[Check]) -> Option<Error> {
    checks.iter().find_map(|check| check.stops_all(true))
}
