//! What can go wrong, and what to do about it: every error of the crate carries one verdict.
//!
//! Pure: this module knows the SQLSTATEs, not the libraries that report them. It never holds a
//! cell's value or a password, so that an error can be shown to anybody who may see the status.

use std::error::Error as StdError;

mod shown;
pub mod sqlstate;

pub use shown::shown;

/// What an error asks for. Each failure has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Transient: try again, with backoff and jitter.
    Retry,
    /// Somebody must mend something first: try again, but seldom, and show the hint.
    RetrySlowly,
    /// The slot or the source is not what it was: only the gate may decide how to go on.
    Gate,
    /// The stream can't be trusted: nothing may be applied past this point.
    Stop,
}

impl Verdict {
    /// The name that status() shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Retry => "retry",
            Verdict::RetrySlowly => "retry slowly",
            Verdict::Gate => "gate",
            Verdict::Stop => "stop",
        }
    }
}

/// An error in Postgres style: a message in lower case without a full stop, sentences only in
/// `detail` and `hint`.
///
/// ```
/// use odoo_mirror::error::{Error, Verdict};
///
/// let error = Error::retry_slowly("publication \"odoo_pub_scout\" does not exist")
///     .hint("Create it on the source: CREATE PUBLICATION odoo_pub_scout FOR TABLE ….");
/// assert_eq!(error.verdict, Verdict::RetrySlowly);
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Five characters, when a server reported the error.
    pub sqlstate: Option<String>,
    pub verdict: Verdict,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Error { message: message.into(), detail: None, hint: None, sqlstate: None, verdict, source: None }
    }

    /// A transient failure: network, a restarting source, a deadlock.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(Verdict::Retry, message)
    }

    /// A failure that somebody must mend; give it a [hint](Self::hint).
    pub fn retry_slowly(message: impl Into<String>) -> Self {
        Self::new(Verdict::RetrySlowly, message)
    }

    /// The slot or the source isn't the one that was left.
    pub fn gate(message: impl Into<String>) -> Self {
        Self::new(Verdict::Gate, message)
    }

    /// A broken stream or a message that isn't understood.
    pub fn stop(message: impl Into<String>) -> Self {
        Self::new(Verdict::Stop, message)
    }

    /// What a server said, judged by its SQLSTATE. Our hint, which names the fix, wins over the
    /// server's.
    ///
    /// All of it is cut and made fit to be [shown].
    ///
    /// The detail of a data or constraint error (classes 22 and 23) quotes values and is left out.
    pub fn reported(sqlstate: &str, message: &str, detail: Option<&str>, hint: Option<&str>) -> Self {
        let quotes_values = sqlstate.starts_with("22") || sqlstate.starts_with("23");
        let mut error =
            Self::new(sqlstate::verdict(sqlstate, message), shown(&sqlstate::discreet(sqlstate, message)));
        error.detail = detail.filter(|_| !quotes_values).map(shown);
        error.hint = sqlstate::hint(sqlstate, message).map(str::to_owned).or_else(|| hint.map(shown));
        error.sqlstate = Some(shown(sqlstate)).filter(|sqlstate| !sqlstate.is_empty());
        error
    }

    /// As [reported](Self::reported), by the source: its hint is told as the source's own. Nobody
    /// should run what a stranger's server proposes without knowing who proposes it.
    pub fn reported_by_source(
        sqlstate: &str,
        message: &str,
        detail: Option<&str>,
        hint: Option<&str>,
    ) -> Self {
        let mut error = Self::reported(sqlstate, message, detail, None);
        error.hint =
            error.hint.or_else(|| hint.map(|hint| format!("The source's own hint: {}", shown(hint))));
        error
    }

    /// The same, judged to pass: what failed on the way to something says nothing of that.
    #[must_use]
    pub fn that_passes(mut self) -> Self {
        if self.verdict == Verdict::RetrySlowly {
            self.verdict = Verdict::Retry;
        }
        self
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn sqlstate(mut self, sqlstate: impl Into<String>) -> Self {
        self.sqlstate = Some(sqlstate.into());
        self
    }

    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says what was being done: `while reading the catalog: connection reset`.
    #[must_use]
    pub fn while_doing(mut self, act: &str) -> Self {
        self.message = format!("{act}: {}", self.message);
        self
    }
}
