//! COPY into a mirror table from bytes that arrive over the link: `BeginCopyFrom` with a data
//! source of our own.

use std::cell::RefCell;
use std::ffi::{CString, c_int, c_void};

use pgrx::prelude::*;

use super::owner::AsOwner;
use crate::error::Error;

/// Gives the next bytes; None at the end.
pub type Feed<'a> = Box<dyn FnMut() -> Result<Option<Vec<u8>>, Error> + 'a>;

/// The callback of `BeginCopyFrom` takes no argument, so what it reads from stands here while COPY
/// runs.
struct Source {
    feed: Feed<'static>,
    piece: Vec<u8>,
    read: usize,
    failure: Option<Error>,
}

thread_local! {
    static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
}

/// Whose fault it is that a copy broke off.
#[derive(Debug)]
pub enum Broken {
    /// The feed's.
    There(Error),
    /// The mirror's table doesn't take the rows.
    Here(Error),
}

/// Copies into `odoo_mirror.table` what `feed` gives, in the open transaction, as the owner;
/// returns the rows. On an error the caller aborts the transaction.
pub fn copy_in(table: &str, columns: &[String], binary: bool, feed: Feed<'_>) -> Result<u64, Broken> {
    // SAFETY: the lifetime is cut short again below: the source is taken out before `feed`'s
    // borrows end, on every way out but a FATAL, which ends the process.
    let feed: Feed<'static> = unsafe { std::mem::transmute::<Feed<'_>, Feed<'static>>(feed) };
    SOURCE
        .with_borrow_mut(|source| *source = Some(Source { feed, piece: Vec::new(), read: 0, failure: None }));
    let copied = super::transaction::attempt(|| run(table, columns, binary));
    let source = SOURCE.with_borrow_mut(Option::take);
    // What stopped the feed is the cause; the error that COPY raised for it only carries it out.
    match source.and_then(|source| source.failure) {
        Some(failure) => Err(Broken::There(failure)),
        None => copied.map_err(Broken::Here),
    }
}

fn run(table: &str, columns: &[String], binary: bool) -> Result<u64, Error> {
    let _owner = AsOwner::switch()?;
    let name = CString::new(table).map_err(|_| Error::stop("a name holds a NUL"))?;
    // SAFETY: in a transaction with a snapshot; lists and nodes live in its memory; the relation is
    // closed after.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"odoo_mirror".as_ptr(), false);
        let oid = pg_sys::get_relname_relid(name.as_ptr(), schema);
        if oid == pg_sys::InvalidOid {
            return Err(Error::retry_slowly(format!("table odoo_mirror.\"{table}\" is gone")));
        }
        let lock = pg_sys::RowExclusiveLock as i32;
        let relation = pg_sys::table_open(oid, lock);
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        pg_sys::addRangeTableEntryForRelation(state, relation, lock, std::ptr::null_mut(), false, false);
        let mut names: *mut pg_sys::List = std::ptr::null_mut();
        for column in columns {
            names = pg_sys::lappend(names, string_node(column)?.cast());
        }
        let format = if binary { "binary" } else { "text" };
        let mut options: *mut pg_sys::List = std::ptr::null_mut();
        for (option, value) in [(c"format", format), (c"encoding", "UTF8")] {
            let node = pg_sys::makeDefElem(pg_sys::pstrdup(option.as_ptr()), string_node(value)?.cast(), -1);
            options = pg_sys::lappend(options, node.cast());
        }
        let copy = pg_sys::BeginCopyFrom(
            state,
            relation,
            std::ptr::null_mut(),
            std::ptr::null(),
            false,
            Some(read),
            names,
            options,
        );
        let rows = pg_sys::CopyFrom(copy);
        pg_sys::EndCopyFrom(copy);
        pg_sys::free_parsestate(state);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        Ok(rows)
    }
}

unsafe fn string_node(text: &str) -> Result<*mut pg_sys::Node, Error> {
    let text = CString::new(text).map_err(|_| Error::stop("a name holds a NUL"))?;
    // SAFETY: the node owns a palloc'd copy.
    Ok(unsafe { pg_sys::makeString(pg_sys::pstrdup(text.as_ptr())) }.cast())
}

/// COPY's data source: fills at most `most` bytes, 0 at the end.
#[pg_guard]
unsafe extern "C-unwind" fn read(out: *mut c_void, _least: c_int, most: c_int) -> c_int {
    loop {
        let copied = SOURCE.with_borrow_mut(|source| {
            let source = source.as_mut()?;
            let left = &source.piece[source.read..];
            let count = left.len().min(most as usize);
            // SAFETY: COPY's buffer has room for `most` bytes.
            unsafe { std::ptr::copy_nonoverlapping(left.as_ptr(), out.cast::<u8>(), count) };
            source.read += count;
            Some(count)
        });
        match copied {
            Some(0) => {}
            Some(count) => return count as c_int,
            None => return 0,
        }
        // Taken out while it runs: waiting serves interrupts, which may raise an error through
        // here.
        let Some(mut source) = SOURCE.with_borrow_mut(Option::take) else { return 0 };
        let next = (source.feed)();
        let (more, failed) = match next {
            Ok(Some(piece)) => {
                source.piece = piece;
                source.read = 0;
                (true, false)
            }
            Ok(None) => (false, false),
            Err(error) => {
                source.failure = Some(error);
                (false, true)
            }
        };
        SOURCE.with_borrow_mut(|place| *place = Some(source));
        if failed {
            pgrx::ereport!(ERROR, PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, "the source's data broke off");
        }
        if !more {
            return 0;
        }
    }
}
