//! Which row of a set is being looked at: so that of a set that is refused the row is known. Of one
//! thread, the worker's.

use std::cell::Cell;

thread_local! {
    /// How many rows were looked at so far.
    static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
}

/// From here on no row has been looked at.
pub(super) fn at_none() {
    LOOKED_AT.set(0);
}

pub(super) fn at_next() {
    LOOKED_AT.set(LOOKED_AT.get() + 1);
}

/// The row that was looked at last, from 0; None: none was.
pub(super) fn last() -> Option<usize> {
    LOOKED_AT.get().checked_sub(1)
}
