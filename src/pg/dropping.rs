//! DROP EXTENSION waits for the worker's transactions: for one that waits for a lock, or builds an
//! index, that may be long. So the worker is told before, by whoever runs the statement.

use std::ffi::CStr;

use pgrx::prelude::*;

use super::{api, board};

/// What was hooked in before us.
static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;

/// Called once, when the server loads the library.
pub fn init() {
    // SAFETY: the postmaster is alone, before it takes connections; hooks are plain pointers.
    unsafe {
        PREVIOUS = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

#[pg_guard]
#[allow(clippy::too_many_arguments, reason = "the server's own signature")]
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const std::ffi::c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: what the server hands over is handed on as it is.
    unsafe {
        if drops_the_extension((*statement).utilityStmt) && api::is_of_this_database() && may_drop() {
            board::write(|board| {
                board.will += 1;
                board.calls += 1;
            });
            api::wake_worker(true);
        }
        match PREVIOUS {
            Some(previous) => previous(
                statement,
                text,
                read_only_tree,
                context,
                parameters,
                environment,
                receiver,
                completion,
            ),
            None => pg_sys::standard_ProcessUtility(
                statement,
                text,
                read_only_tree,
                context,
                parameters,
                environment,
                receiver,
                completion,
            ),
        }
    }
}

/// Whether this is DROP EXTENSION odoo_mirror, perhaps among others.
unsafe fn drops_the_extension(statement: *mut pg_sys::Node) -> bool {
    // SAFETY: a node of the tag that it says; the objects of DROP EXTENSION are strings.
    unsafe {
        if statement.is_null() || (*statement).type_ != pg_sys::NodeTag::T_DropStmt {
            return false;
        }
        let statement = statement.cast::<pg_sys::DropStmt>();
        if (*statement).removeType != pg_sys::ObjectType::OBJECT_EXTENSION || (*statement).objects.is_null() {
            return false;
        }
        let objects = (*statement).objects;
        (0..(*objects).length).any(|place| {
            let name = pg_sys::list_nth(objects, place).cast::<pg_sys::String>();
            !name.is_null() && !(*name).sval.is_null() && CStr::from_ptr((*name).sval) == c"odoo_mirror"
        })
    }
}

/// Whether whoever runs the statement owns the extension. Anybody else is refused by the server,
/// and must not interrupt the worker.
fn may_drop() -> bool {
    // SAFETY: catalog lookups, in the transaction that the statement runs in.
    unsafe {
        let extension = pg_sys::get_extension_oid(c"odoo_mirror".as_ptr(), true);
        extension != pg_sys::InvalidOid && is_owner(extension, pg_sys::GetUserId())
    }
}

#[cfg(feature = "pg15")]
unsafe fn is_owner(extension: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: as the caller says.
    unsafe { pg_sys::pg_extension_ownercheck(extension, role) }
}

#[cfg(not(feature = "pg15"))]
unsafe fn is_owner(extension: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: as the caller says.
    unsafe { pg_sys::object_ownercheck(pg_sys::ExtensionRelationId, extension, role) }
}
