//! When a table can't be compared, or refuses what a comparison writes: it alone stops, and says why.

use std::time::{Duration, Instant};

use super::{Verdicts, notes, registry, reload};
use crate::error::{Error, Verdict, sqlstate};
use crate::mirror::table_state::{Failure, TableState};
use crate::pg::follow::Following;
use crate::pg::{quarantine, transaction};
use crate::source::probe::ProbeStep;
use crate::wire::Lsn;

/// Before the next piece of any table: what can't be compared must not keep the source busy.
const REST: Duration = Duration::from_secs(30);

/// Whether what the source said will be the same the next time. Most of what it says passes, or is looked into elsewhere: a column
/// that is gone there has drifted.
pub(super) fn stays(error: &Error) -> bool {
    // Bytes that are no letters, in a source whose encoding is SQL_ASCII, or letters that UTF-8 lacks.
    let no_text = |code: &str| matches!(code, "22021" | "22P05");
    error.sqlstate.as_deref().is_some_and(|code| sqlstate::is_too_big(code, &error.message) || no_text(code))
}

/// The same, of what this server said.
pub(super) fn stays_here(error: &Error) -> bool {
    !matches!(error.verdict, Verdict::Retry | Verdict::Stop)
}

/// Ends the comparison at hand. A table that is only verified stays ready: its stream is sound.
pub(super) fn cannot_be_compared(following: &mut Following<'_>, error: &Error) -> Result<(), Error> {
    let reconciling = &mut following.reconciling;
    reconciling.ask(following.network, ProbeStep::Close);
    let Some(comparing) = reconciling.comparing.take() else { return Ok(()) };
    reconciling.rest_until = Some(Instant::now() + REST);
    let name = &comparing.table.name;
    transaction::transaction(|| {
        notes::failed(name, error)?;
        if comparing.table.state == TableState::Ready {
            return Ok(());
        }
        let failure =
            if stays(error) { Failure::TooBig } else { Failure::of_refusal(error.sqlstate.as_deref()) };
        let reason = format!("its rows can't be compared with the source's: {}", error.message);
        registry::fail(name, failure, &reason, error.hint.as_deref().unwrap_or(&failure.hint(name)))
    })?;
    reload(following)
}

/// The destination refused the table's rows.
pub(super) fn refused(
    following: &mut Following<'_>,
    error: &Error,
    verdicts: &Verdicts,
    at: Lsn,
) -> Result<(), Error> {
    let Some(comparing) = following.reconciling.comparing.take() else { return Ok(()) };
    let name = &comparing.table.name;
    transaction::transaction(|| {
        notes::failed(name, error)?;
        let failure = Failure::of_refusal(error.sqlstate.as_deref());
        let reason = quarantine::reason(error);
        registry::fail(name, failure, &reason, error.hint.as_deref().unwrap_or(&failure.hint(name)))?;
        quarantine::note(name, verdicts, quarantine::Source::Comparing(at))
    })?;
    reload(following)
}
