//! The settings that a postgresql.conf holds.

use std::ffi::CString;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::config::allowed::AllowedSources;
use crate::error::Error;
use crate::source::connect::Limits;

pub static DATABASE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"postgres"));
pub static BATCH_SIZE: GucSetting<i32> = GucSetting::<i32>::new(1000);
pub static FLUSH_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1000);
pub static COPY_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(2);
pub static COPY_RANGE_ROWS: GucSetting<i32> = GucSetting::<i32>::new(100_000);
pub static LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(5_000);
pub static POLL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(10);
pub static PASSFILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static PASSWORD_ENV: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static ALLOWED_SOURCES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static CERTIFICATE_DIRECTORY: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"/etc/ssl/certs"));
pub static EXCLUDE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(
    c"access_token, signup_token, oauth_access_token, password, new_password, totp_secret",
));

pub static GIVE_UP_SLOT_AT: GucSetting<i32> = GucSetting::<i32>::new(-1);
pub static FAILOVER_SLOT: GucSetting<bool> = GucSetting::<bool>::new(true);
pub static COMPARE_ROWS: GucSetting<i32> = GucSetting::<i32>::new(2_000);
pub static COMPARE_SHARE: GucSetting<i32> = GucSetting::<i32>::new(25);
pub static VERIFY_CONTINUOUSLY: GucSetting<bool> = GucSetting::<bool>::new(false);
pub static VERIFY_PERIOD: GucSetting<i32> = GucSetting::<i32>::new(86_400);

pub static METRICS_LISTEN: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
pub static LANGUAGE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Defines all settings; called once, from the server's start.
pub fn init() {
    GucRegistry::define_string_guc(
        c"odoo_mirror.database",
        c"The database that the worker connects to.",
        c"The one in which CREATE EXTENSION odoo_mirror was run.",
        &DATABASE,
        GucContext::Postmaster,
        GucFlags::empty(),
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.batch_size",
        c"Net changes at which a batch is handed over although more is there.",
        c"A bound, never a wait: what is there is applied at once.",
        &BATCH_SIZE,
        1,
        1_000_000,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.flush_interval",
        c"How long a batch may grow while the applier is busy.",
        c"A bound, never a wait.",
        &FLUSH_INTERVAL,
        1,
        60_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.copy_workers",
        c"Background workers that copy at the same time; 0: the mirror's own worker copies.",
        c"Fewer run when max_worker_processes leaves fewer.",
        &COPY_WORKERS,
        0,
        32,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.copy_range_rows",
        c"About how many rows are copied under one snapshot of the source.",
        c"The source's xmin is held no longer than such a range takes.",
        &COPY_RANGE_ROWS,
        1,
        1_000_000_000,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.lock_timeout",
        c"How long to wait for a lock on a mirrored table before the batch is tried again.",
        c"The database's own lock_timeout does not count for the mirror.",
        &LOCK_TIMEOUT,
        10,
        600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.poll_interval",
        c"How often the source's catalog, WAL position and slot are looked at.",
        c"New tables of the publication are found within this time.",
        &POLL_INTERVAL,
        1,
        3_600,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.give_up_slot_at",
        c"WAL on the source at which the slot is dropped rather than keep more; -1: never.",
        c"The mirror begins anew when it can, with a new slot, and compares all tables.",
        &GIVE_UP_SLOT_AT,
        -1,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_bool_guc(
        c"odoo_mirror.failover_slot",
        c"Standbys of the source may keep the slot, so that the mirror goes on after a failover (from PostgreSQL 17 on).",
        c"Such a slot waits for the standbys that synchronized_standby_slots names on the source.",
        &FAILOVER_SLOT,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.compare_rows",
        c"Most rows that are compared with the source under one snapshot.",
        c"Fewer where rows are wide. The stream stands still while they are hashed here.",
        &COMPARE_ROWS,
        50,
        100_000,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.compare_share",
        c"Percent of the time that the source may be busy with a verify().",
        c"Between two pieces the mirror rests. What mends known damage does not rest.",
        &COMPARE_SHARE,
        1,
        100,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_bool_guc(
        c"odoo_mirror.verify_continuously",
        c"Compare every table with the source again and again, and mend what differs.",
        c"Each table is proven anew within odoo_mirror.verify_period.",
        &VERIFY_CONTINUOUSLY,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_int_guc(
        c"odoo_mirror.verify_period",
        c"Within which time every table is proven anew, with odoo_mirror.verify_continuously.",
        c"A day by default.",
        &VERIFY_PERIOD,
        1,
        31_536_000,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_string_guc(
        c"odoo_mirror.language",
        c"The language of translated names in the views, as Odoo calls it: fr_FR.",
        c"Empty: that of Odoo's own company. Where a name has no translation: en_US, else any.",
        &LANGUAGE,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_string_guc(
        c"odoo_mirror.metrics_listen",
        c"Where /metrics and /health are served: 9090, 127.0.0.1:9090; empty: nowhere.",
        c"A port alone means the loopback. There is no password: leave it there, or behind something that asks for one.",
        &METRICS_LISTEN,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    // Where secrets lie is for a superuser to say: a file or a variable of the server is not a
    // user's to read.
    GucRegistry::define_string_guc(
        c"odoo_mirror.passfile",
        c"A file of the server, in the format of .pgpass, with the source's password.",
        c"Readable by the server's user only.",
        &PASSFILE,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"odoo_mirror.password_env",
        c"The environment variable of the server that holds the source's password.",
        c"Read by the worker.",
        &PASSWORD_ENV,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    // What a role without superuser rights may reach through the worker is for a superuser to say.
    GucRegistry::define_string_guc(
        c"odoo_mirror.allowed_sources",
        c"Servers that a role without superuser rights may name in configure(), and that get the server's secrets.",
        c"Names, *.example.com, addresses and networks, separated by commas; empty: any but this server itself.",
        &ALLOWED_SOURCES,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_string_guc(
        c"odoo_mirror.certificate_directory",
        c"Where sslrootcert may lie when a role without superuser rights names it.",
        c"Empty: nowhere; such a role may still keep certificates in Vault.",
        &CERTIFICATE_DIRECTORY,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    GucRegistry::define_string_guc(
        c"odoo_mirror.exclude_columns",
        c"Columns that are not mirrored: column or table.column, separated by commas.",
        c"Secrets stay in Odoo. A change counts from a table's next copy on.",
        &EXCLUDE,
        GucContext::Sighup,
        GucFlags::empty(),
    );
}

/// A string setting's value; empty counts as not set.
pub fn text(setting: &'static GucSetting<Option<CString>>) -> Option<String> {
    setting.get().and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
}

/// What holds for a connection that no superuser configured.
pub fn limits() -> Result<Limits, Error> {
    let allowed = AllowedSources::parse(&text(&ALLOWED_SOURCES).unwrap_or_default())?;
    Ok(Limits { allowed, certificate_directory: text(&CERTIFICATE_DIRECTORY) })
}

/// The names in `odoo_mirror.exclude_columns`.
pub fn excluded_columns() -> Vec<String> {
    let list = text(&EXCLUDE).unwrap_or_default();
    list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// The most megabytes of WAL that the slot may keep on the source, if there is a limit.
pub fn give_up_slot_at() -> Option<i64> {
    Some(i64::from(GIVE_UP_SLOT_AT.get())).filter(|megabytes| *megabytes >= 0)
}

/// The settings that count from a life of the mirror to the next; changed by a reload, they begin a
/// new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    failover_slot: bool,
    numbers: [i32; 7],
    texts: [Option<String>; 6],
}

pub fn tuning() -> Tuning {
    let numbers = [
        &BATCH_SIZE,
        &FLUSH_INTERVAL,
        &COPY_WORKERS,
        &COPY_RANGE_ROWS,
        &LOCK_TIMEOUT,
        &POLL_INTERVAL,
        &GIVE_UP_SLOT_AT,
    ];
    Tuning {
        failover_slot: FAILOVER_SLOT.get(),
        numbers: numbers.map(|setting| setting.get()),
        texts: [
            text(&ALLOWED_SOURCES),
            text(&CERTIFICATE_DIRECTORY),
            text(&PASSFILE),
            text(&PASSWORD_ENV),
            text(&EXCLUDE),
            text(&LANGUAGE),
        ],
    }
}
