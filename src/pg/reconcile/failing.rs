//! When a table can't be compared, or refuses what a comparison writes: it alone stops, and says
//! why.

use std::time::Instant;

use super::{REST, Verdicts, notes, registry, reload};
use crate::error::{Error, Verdict, sqlstate};
use crate::mirror::table_state::{Failure, TableState};
use crate::pg::follow::Following;
use crate::pg::{quarantine, transaction};
use crate::source::probe::ProbeStep;
use crate::wire::Lsn;

/// What it means that the source said this of a table's rows; None: that passes by itself. That a
/// table or a column is gone there is looked into elsewhere: it has drifted.
pub(super) fn there(error: &Error) -> Option<Failure> {
    let code = error.sqlstate.as_deref().filter(|_| error.verdict == Verdict::RetrySlowly)?;
    // Bytes that are no letters, in a source whose encoding is SQL_ASCII, or letters that UTF-8
    // lacks.
    let stays = sqlstate::is_too_big(code, &error.message) || matches!(code, "22021" | "22P05");
    // A privilege that was taken away may be given again.
    Some(if stays { Failure::TooBig } else { Failure::Unreadable })
}

/// The same, of what this server said.
pub(super) fn here(error: &Error) -> Option<Failure> {
    let stays = !matches!(error.verdict, Verdict::Retry | Verdict::Stop);
    stays.then(|| Failure::of_refusal(error.sqlstate.as_deref()))
}

/// Ends the comparison at hand. A table that is only verified stays ready: its stream is sound.
pub(super) fn cannot_be_compared(
    following: &mut Following<'_>,
    error: &Error,
    failure: Failure,
) -> Result<(), Error> {
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
