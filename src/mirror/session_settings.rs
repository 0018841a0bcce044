//! The settings of our sessions, on the source and here.
//!
//! What a value's text, a literal's meaning or a session's life depends on is [`FIXED`], whatever
//! the defaults of the server, the database and the role are. The rest is [`LEFT`] as it is. Each
//! setting of PostgreSQL 13 to 18 that a role or a database can change is in one of the two lists:
//! a test asks the server for those that are in neither.

use super::quote::quote_literal;

/// The search_path of sessions that read catalogs: they find nothing outside pg_catalog by
/// accident.
pub const CATALOG_PATH: &str = "pg_catalog, pg_temp";

/// The search_path under which the source prints values: in a copy, in a comparison, in the stream.
///
/// A `regclass` is written by it. Schema `public` is in it as in the source's own sessions. Without
/// it, planning a query on a table may fail: it may run functions of the table's indexes, and not
/// every one of them names its schemas.
pub const VALUES_PATH: &str = "pg_catalog, public, pg_temp";

/// A setting that is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    pub name: &'static str,
    pub value: &'static str,
    pub place: Place,
    pub why: &'static str,
}

/// In which sessions a setting is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Both,
    Source,
    Here,
}

const fn both(name: &'static str, value: &'static str, why: &'static str) -> Setting {
    Setting { name, value, place: Place::Both, why }
}

const fn source(name: &'static str, value: &'static str, why: &'static str) -> Setting {
    Setting { name, value, place: Place::Source, why }
}

const fn here(name: &'static str, value: &'static str, why: &'static str) -> Setting {
    Setting { name, value, place: Place::Here, why }
}

/// What is set. `search_path`, and `lock_timeout` here, have values of their own and are not
/// listed.
pub const FIXED: [Setting; 35] = [
    // How values are written, and read.
    both("client_encoding", "UTF8", "text travels in one encoding"),
    both("datestyle", "ISO, MDY", "dates and timestamps are written by it, and read"),
    both("intervalstyle", "postgres", "intervals are written by it, and read"),
    both("timezone", "UTC", "a timestamp with time zone is written in it"),
    both("extra_float_digits", "3", "with fewer, floating-point numbers lose their last digits"),
    both("bytea_output", "hex", "byte strings are written by it"),
    both("lc_monetary", "C", "money is written by it, and read: some locales part decimals by a comma"),
    both("quote_all_identifiers", "off", "names of types and conditions from the catalog are written by it"),
    both("xmlbinary", "base64", "byte strings within XML are written by it"),
    both("xmloption", "content", "XML is read by it: as a document, a mere fragment is refused"),
    both("array_nulls", "on", "arrays are read by it: off, their NULL is a word"),
    // How literals and conditions are read.
    both("standard_conforming_strings", "on", "row filters from the catalog are written by it, and read"),
    both("backslash_quote", "safe_encoding", "a literal of ours means what it says"),
    both("transform_null_equals", "off", "a row filter means what it says"),
    // Which rows are seen, and what a statement may do.
    both("row_security", "off", "rows that a policy hides are an error, and not left out"),
    both("gin_fuzzy_search_limit", "0", "a limit leaves out rows at random"),
    both("default_transaction_isolation", "read committed", "a statement sees what is committed"),
    both("default_transaction_deferrable", "off", "no transaction waits for a safe snapshot"),
    here("default_transaction_read_only", "off", "the mirror is written"),
    // What ends a statement, a transaction, a session.
    both("statement_timeout", "0", "a copy takes as long as it takes"),
    both("transaction_timeout", "0", "a snapshot is held as long as its rows are read"),
    both("idle_in_transaction_session_timeout", "0", "a snapshot is held while its rows are written here"),
    both("idle_session_timeout", "0", "a session waits for the next table"),
    source("lock_timeout", "0", "each statement that may wait for a lock sets its own"),
    both("exit_on_error", "off", "an error ends a statement, and not the session"),
    // How the mirror is written.
    here("synchronous_commit", "off", "a commit is confirmed to the source only once it is on disk"),
    here("session_replication_role", "replica", "foreign keys and ordinary triggers are not for the mirror"),
    here("plan_cache_mode", "force_generic_plan", "plans are made once, and kept"),
    here("enable_seqscan", "off", "a plan that was made while a table was empty must use its key"),
    here("enable_hashjoin", "off", "likewise"),
    here("enable_mergejoin", "off", "likewise"),
    here("enable_indexscan", "on", "likewise"),
    here("enable_nestloop", "on", "likewise"),
    here("enable_tidscan", "on", "rows without a key are found by their place"),
    // Compiling a look at the catalog takes seconds, running it milliseconds.
    both("jit", "off", "statements are short, and many"),
];

/// What is left as it is, by name or by how the name begins (`enable_*`), and why.
pub const LEFT: &[(&str, &[&str])] = &[
    (
        "how fast a statement runs, or what it uses for that, and not what it returns",
        &[
            "backend_flush_after",
            "commit_delay",
            "commit_siblings",
            "compute_query_id",
            "constraint_exclusion",
            "cpu_*",
            "cursor_tuple_fraction",
            "default_statistics_target",
            "effective_cache_size",
            "effective_io_concurrency",
            "enable_*",
            "file_copy_method",
            "force_parallel_mode",
            "from_collapse_limit",
            "geqo*",
            "gin_pending_list_limit",
            "hash_mem_multiplier",
            "io_combine_limit",
            "jit*",
            "join_collapse_limit",
            "logical_decoding_work_mem",
            "maintenance_*",
            "max_parallel_*",
            "max_stack_depth",
            "min_parallel_*",
            "parallel_*",
            "plan_cache_mode",
            "random_page_cost",
            "recursive_worktable_factor",
            "seq_page_cost",
            "stats_fetch_consistency",
            "synchronize_seqscans",
            "temp_buffers",
            "temp_file_limit",
            "update_process_title",
            "vacuum_*",
            "wal_compression",
            "wal_init_zero",
            "wal_recycle",
            "wal_skip_threshold",
            "work_mem",
        ],
    ),
    (
        "what a server tells its log, its statistics or its client",
        &[
            "application_name",
            "backtrace_functions",
            "client_min_messages",
            "debug_*",
            "lc_messages",
            "log_*",
            "operator_precedence_warning",
            "escape_string_warning",
            "md5_password_warnings",
            "track_*",
            "trace_*",
        ],
    ),
    (
        "only to_char(), to_number() and text search without a configuration write or read by it, which nothing of ours uses",
        &["default_text_search_config", "lc_numeric", "lc_time"],
    ),
    ("times travel in UTC, with a number for it", &["timezone_abbreviations"]),
    (
        "where and how new objects are stored is for the owner of the database to say",
        &[
            "default_table_access_method",
            "default_tablespace",
            "default_toast_compression",
            "temp_tablespaces",
            "allow_in_place_tablespaces",
            "check_function_bodies",
        ],
    ),
    (
        "who may do what is for the owner of the server to say",
        &[
            "createrole_self_grant",
            "lo_compat_privileges",
            "event_triggers",
            "password_encryption",
            "restrict_nonsystem_relation_kind",
            "role",
            "session_authorization",
            "scram_iterations",
            "allow_system_table_mods",
            "icu_validation_level",
        ],
    ),
    (
        "what a server loads, and checks of itself, is for its owner to say",
        &[
            "composite_type_mismatch",
            "dynamic_library_path",
            "extension_control_path",
            "extension_destdir",
            "output_plugin_libraries",
            "local_preload_libraries",
            "session_preload_libraries",
        ],
    ),
    (
        "how a server notices that we are gone is for its owner to say; we answer it every second",
        &["client_connection_check_interval", "tcp_*", "wal_sender_timeout", "deadlock_timeout"],
    ),
    (
        "the source is only read: nothing fires there, nothing is committed",
        &["session_replication_role", "synchronous_commit"],
    ),
    (
        "a repair by hand of a damaged cluster, or a test of the server itself",
        &[
            "ignore_checksum_failure",
            "ignore_system_indexes",
            "zero_damaged_pages",
            "post_auth_delay",
            "wal_consistency_checking",
        ],
    ),
    (
        "a value of the session itself, which nobody can set beforehand",
        &["transaction_*", "default_transaction_read_only"],
    ),
];

/// The settings that are fixed here. A server may not know each of them.
pub fn here_fixed() -> impl Iterator<Item = &'static Setting> {
    FIXED.iter().filter(|setting| setting.place != Place::Source)
}

/// Sets what is fixed on the source, as far as its version knows it, for the rest of the session.
///
/// No operator and no unqualified function is in it: the search_path may still be anybody's. What
/// would compile the statement, or cut it short, is set before it; so is the isolation by which a
/// standby would refuse it.
pub fn for_source(search_path: &str) -> String {
    let fixed = FIXED.iter().filter(|setting| setting.place != Place::Here);
    let pairs = fixed.map(|setting| (setting.name, setting.value)).chain([("search_path", search_path)]);
    let rows: Vec<String> =
        pairs.map(|(name, value)| format!("({}, {})", quote_literal(name), quote_literal(value))).collect();
    format!(
        "SET transaction_isolation = 'read committed'; SET statement_timeout = 0; SET jit = off; \
         SELECT pg_catalog.set_config(s.name, s.value, false) FROM (VALUES {}) s (name, value) \
         WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL",
        rows.join(", ")
    )
}

/// Whether something was decided about a setting of this name.
pub fn is_decided(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let left = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == **pattern,
    };
    matches!(name.as_str(), "search_path" | "lock_timeout")
        || FIXED.iter().any(|setting| setting.name == name)
        || LEFT.iter().any(|(_, names)| names.iter().any(left))
}
