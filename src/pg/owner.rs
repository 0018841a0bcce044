//! Acting as the role that owns the mirror, with its rights and no more.
//!
//! What is run then may be anybody's code: a trigger, a domain's CHECK, an index expression, a
//! policy, an event trigger. It can reach no other role, and no setting that it makes outlives it.

use std::ffi::CString;

use pgrx::prelude::*;

use crate::error::Error;

/// The role's name; created by the extension's script.
pub const OWNER: &str = "odoo_mirror_owner";

/// While it lives, statements run as the owner. A Postgres error undoes it with the transaction.
pub struct AsOwner {
    _role: AsRole,
}

impl AsOwner {
    /// Only inside a transaction.
    pub fn switch() -> Result<AsOwner, Error> {
        let owner = owner_oid()?;
        Ok(AsOwner { _role: AsRole::to(owner) })
    }
}

/// While it lives, statements run as some role, in a security-restricted operation.
pub struct AsRole {
    user: pg_sys::Oid,
    context: i32,
    level: i32,
}

impl AsRole {
    /// Only inside a transaction.
    pub fn switch(role: &str) -> Result<AsRole, Error> {
        let oid = role_oid(role).ok_or_else(|| {
            Error::retry_slowly(format!("role \"{role}\", which called configure(), is gone"))
                .hint("Call configure() again.")
        })?;
        Ok(AsRole::to(oid))
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
        AsRole { user, context, level }
    }
}

impl Drop for AsRole {
    fn drop(&mut self) {
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

/// Whether whoever called the SQL function at hand is a superuser: the role that logged in, and the
/// one that it acts as. The function's own rights don't count.
pub fn caller_is_superuser() -> bool {
    // SAFETY: reads this backend's users, and looks them up in the syscache.
    unsafe {
        pg_sys::superuser_arg(pg_sys::GetSessionUserId()) && pg_sys::superuser_arg(pg_sys::GetOuterUserId())
    }
}

fn role_oid(name: &str) -> Option<pg_sys::Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: a syscache lookup by a name that lives through the call.
    let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}
