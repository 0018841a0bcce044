//! What functions of the mirror's ask of the server, and their role may not see or look up by
//! itself.

use pgrx::prelude::*;

use super::owner::AsOwner;
use super::sql;

#[pg_schema]
mod odoo_mirror_internal {
    use super::*;

    /// One of the server's settings that an ordinary role may not see.
    #[pg_extern(stable)]
    fn server_setting(name: &str) -> Option<String> {
        let name = match name {
            "data_directory" => c"data_directory",
            "shared_preload_libraries" => c"shared_preload_libraries",
            _ => return None,
        };
        // SAFETY: a setting of the server's; its text is copied at once.
        unsafe {
            let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
            (!value.is_null()).then(|| std::ffi::CStr::from_ptr(value).to_string_lossy().into_owned())
        }
    }

    /// How many of the server's background workers are in use.
    #[pg_extern(volatile)]
    fn background_workers() -> i32 {
        // SAFETY: this backend's copy of the server's activity; entries are looked at within their
        // number.
        unsafe {
            let all = 1..=pg_sys::pgstat_fetch_stat_numbackends();
            let kind = |index| {
                #[cfg(feature = "pg15")]
                let entry = pg_sys::pgstat_fetch_stat_local_beentry(index);
                #[cfg(not(feature = "pg15"))]
                let entry = pg_sys::pgstat_get_local_beentry_by_index(index);
                (!entry.is_null()).then(|| (*entry).backendStatus.st_backendType)
            };
            all.filter_map(kind).filter(|kind| *kind == pg_sys::BackendType::B_BG_WORKER).count() as i32
        }
    }

    /// The language of Odoo's own company, looked up as the mirror's owner.
    #[pg_extern(stable)]
    fn company_language() -> Option<String> {
        let _owner = AsOwner::switch_in_session().ok()?;
        let found = sql::value(
            "SELECT lang::pg_catalog.text FROM odoo_mirror.res_partner WHERE id::pg_catalog.text = '1'",
            &[],
        );
        found.ok().flatten()
    }
}
