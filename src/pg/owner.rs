//! The two roles that SQL runs as: neither has anything to give away.
//!
//! `odoo_mirror_worker` owns the mirror's own tables and functions, and is the worker's user from
//! its first statement on. `odoo_mirror_owner` owns what is mirrored: what is run as it may be
//! anybody's code, a trigger, a domain's CHECK, an index expression, a policy, an event trigger.
//! That code can reach no other role, and no setting that it makes outlives it. What needs a
//! superuser's rights is a call of a function of the server's, never SQL.

use std::cell::Cell;
use std::ffi::{CStr, CString};

use pgrx::prelude::*;

use crate::error::Error;
use crate::mirror::session_settings;

/// The role that owns what is mirrored; made by the extension's script.
pub const OWNER: &str = "odoo_mirror_owner";

/// The worker's role; made by the extension's script.
const WORKER: &CStr = c"odoo_mirror_worker";

thread_local! {
    /// How many roles that somebody named are acted as: one of them may be a superuser.
    static NAMED: Cell<u32> = const { Cell::new(0) };
}

/// Whether the user that SQL would run as is no superuser; or is whoever called configure().
pub fn may_run_sql() -> bool {
    // SAFETY: looks at this backend's user.
    NAMED.get() > 0 || !unsafe { pg_sys::superuser() }
}

/// Whether the extension is installed in this database. No SQL is run to find that out.
pub fn extension_is_here() -> bool {
    // SAFETY: in a transaction; a scan of the catalog by a name that lives through the call.
    unsafe { pg_sys::get_extension_oid(c"odoo_mirror".as_ptr(), true) != pg_sys::InvalidOid }
}

/// In a process of the mirror's, at the start of a transaction: it goes on as the worker's role,
/// which nothing that runs in the transaction can leave. Without that role it stays what it is, and
/// runs no SQL.
pub fn become_worker() {
    let Some(worker) = oid_of(WORKER) else { return };
    // SAFETY: in a transaction. The process was connected as the bootstrap superuser, so it may
    // become anybody; the session's user is changed while no other user is set. As a setting, and
    // the default at that, since parallel workers and RESET go by it.
    unsafe {
        if pg_sys::superuser_arg(worker) {
            return;
        }
        if pg_sys::GetSessionUserId() != worker {
            pg_sys::SetConfigOption(
                c"session_authorization".as_ptr(),
                WORKER.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
        pg_sys::SetUserIdAndSecContext(worker, pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
    }
}

/// After a transaction's end: the session's user, for whom nothing is restricted.
pub fn stop_being_worker() {
    // SAFETY: outside a transaction; the process is one of the mirror's.
    unsafe { pg_sys::SetUserIdAndSecContext(pg_sys::GetSessionUserId(), 0) }
}

/// While it lives, statements run as the worker's role: in a session that may be anybody's, whose
/// search_path counts for nothing.
pub struct AsWorker {
    _role: AsRole,
}

impl AsWorker {
    /// Only inside a transaction.
    pub fn switch() -> Result<AsWorker, Error> {
        let worker = oid_of(WORKER).ok_or_else(|| {
            Error::retry_slowly("role \"odoo_mirror_worker\" does not exist")
                .hint("DROP EXTENSION odoo_mirror; CREATE EXTENSION odoo_mirror; makes it.")
        })?;
        let role = AsRole::to(worker);
        role.fix_search_path()?;
        Ok(AsWorker { _role: role })
    }
}

/// While it lives, statements run as the owner. A Postgres error undoes it with the transaction.
pub struct AsOwner {
    _role: AsRole,
}

impl AsOwner {
    /// Only inside a transaction.
    pub fn switch() -> Result<AsOwner, Error> {
        let owner = owner_oid()?;
        // SAFETY: a syscache lookup.
        if unsafe { pg_sys::superuser_arg(owner) } {
            return Err(Error::retry_slowly(format!("role \"{OWNER}\" is a superuser"))
                .hint(format!("ALTER ROLE {OWNER} NOSUPERUSER;")));
        }
        Ok(AsOwner { _role: AsRole::to(owner) })
    }

    /// In a session that may be anybody's.
    pub fn switch_in_session() -> Result<AsOwner, Error> {
        let owner = AsOwner::switch()?;
        owner._role.fix_search_path()?;
        Ok(owner)
    }
}

/// While it lives, statements run as some role, in a security-restricted operation.
pub struct AsRole {
    user: pg_sys::Oid,
    context: i32,
    level: i32,
    named: bool,
}

impl AsRole {
    /// Only inside a transaction.
    pub fn switch(role: &str) -> Result<AsRole, Error> {
        let oid = role_oid(role).ok_or_else(|| {
            Error::retry_slowly(format!("role \"{role}\", which called configure(), is gone"))
                .hint("Call configure() again.")
        })?;
        NAMED.set(NAMED.get() + 1);
        let mut role = AsRole::to(oid);
        role.named = true;
        Ok(role)
    }

    /// Until it ends names are looked for where the mirror's functions look.
    fn fix_search_path(&self) -> Result<(), Error> {
        super::sql::set(c"search_path", session_settings::CATALOG_PATH)
    }

    fn to(role: pg_sys::Oid) -> AsRole {
        let mut user = pg_sys::InvalidOid;
        let mut context = 0;
        let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
        // SAFETY: reads and sets this backend's user, and opens a nest level of its settings, as
        // SECURITY DEFINER functions and index builds do.
        let level = unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            pg_sys::SetUserIdAndSecContext(role, context | restricted as i32);
            pg_sys::NewGUCNestLevel()
        };
        AsRole { user, context, level, named: false }
    }
}

impl Drop for AsRole {
    fn drop(&mut self) {
        if self.named {
            NAMED.set(NAMED.get().saturating_sub(1));
        }
        // SAFETY: gives back what `switch` read, and undoes all settings made since. On the way out
        // of an error the abort of the (sub)transaction does the same, in its own order.
        unsafe {
            if !std::thread::panicking() {
                pg_sys::AtEOXact_GUC(false, self.level);
            }
            pg_sys::SetUserIdAndSecContext(self.user, self.context);
        }
    }
}

/// The owner role's OID.
pub fn owner_oid() -> Result<pg_sys::Oid, Error> {
    role_oid(OWNER).ok_or_else(|| {
        Error::retry_slowly(format!("role \"{OWNER}\" does not exist")).hint(format!(
            "Run: CREATE ROLE {OWNER} NOLOGIN; then make it the owner of the tables in schema odoo_mirror."
        ))
    })
}

/// Whether there is such a role, and it is a superuser. In a transaction.
pub fn is_superuser(role: &str) -> bool {
    // SAFETY: a syscache lookup.
    role_oid(role).is_some_and(|oid| unsafe { pg_sys::superuser_arg(oid) })
}

/// Whoever called a function of ours that has its caller's rights: the role whose rights count
/// there. That is no superuser who reads somebody's view, or looks after somebody's index, as
/// autovacuum does.
pub struct Caller {
    pub name: String,
    /// That role, the one that logged in, and the one that it acts as.
    pub is_superuser: bool,
}

/// Only in a function that has its caller's rights.
pub fn caller() -> Caller {
    // SAFETY: reads this backend's users, and looks them up in the syscache; the name is palloc'd.
    unsafe {
        let roles = [pg_sys::GetUserId(), pg_sys::GetSessionUserId(), pg_sys::GetOuterUserId()];
        let name = pg_sys::GetUserNameFromId(roles[0], false);
        Caller {
            name: CStr::from_ptr(name).to_string_lossy().into_owned(),
            is_superuser: roles.iter().all(|role| pg_sys::superuser_arg(*role)),
        }
    }
}

fn role_oid(name: &str) -> Option<pg_sys::Oid> {
    oid_of(&CString::new(name).ok()?)
}

fn oid_of(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a syscache lookup by a name that lives through the call.
    let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}
