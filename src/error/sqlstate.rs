//! From a SQLSTATE to a verdict and to the hint that names the fix.
//!
//! Messages are looked at only where one code stands for several causes, and only to sharpen the
//! verdict: a source that speaks another language still gets a safe one.

use super::Verdict;

/// What to do when a pooler answers in place of the database.
pub const POOLER_HINT: &str = "A connection pooler (PgBouncer, Supavisor) is in the path, and replication \
    can't pass it. Give the host and port of the database itself.";

/// What to do about a row that no message of PostgreSQL's can hold.
const TOO_BIG_HINT: &str = "A row is larger than the 1 GB that PostgreSQL can send. Leave its widest column out: of copies and \
    comparisons by odoo_mirror.exclude_columns here, of the stream by the publication's column list on the source. A stream that \
    stands before such a row needs a new slot: SELECT odoo_mirror.stop() here, SELECT pg_drop_replication_slot(…) on the source, \
    SELECT odoo_mirror.start() here; then all tables are compared.";

/// The verdict on an error that a source reported.
pub fn verdict(sqlstate: &str, message: &str) -> Verdict {
    use Verdict::{Gate, Retry, RetrySlowly, Stop};
    if speaks_of_a_pooler(message) {
        return RetrySlowly;
    }
    match sqlstate {
        // The slot: invalidated, or the WAL that it needs is gone.
        "58P01" => Gate,
        "55000" if slot_was_lost(message) => Gate,
        "42704" if message.contains("replication slot") => Gate,
        // Somebody else still holds the slot or the lock, was in the way, or asked us to stop.
        "55006" | "55P03" | "57014" | "25P03" | "25P04" | "25006" => Retry,
        // max_replication_slots, and other limits that only a changed setting lifts.
        "53400" => RetrySlowly,
        "57P04" => RetrySlowly,
        // Somebody wrote the row between our look and our write.
        "XX000" if message.starts_with("tuple concurrently ") => Retry,
        "08P01" => Stop,
        _ => match sqlstate.get(..2) {
            Some("08" | "40" | "53" | "57" | "58") => Retry,
            // Refused for a reason that doesn't go away by itself: the first guess for what is new,
            // too.
            _ => RetrySlowly,
        },
    }
}

/// The hint for an error that a source reported, where we know the fix.
pub fn hint(sqlstate: &str, message: &str) -> Option<&'static str> {
    if speaks_of_a_pooler(message) {
        return Some(POOLER_HINT);
    }
    if is_too_big(sqlstate, message) {
        return Some(TOO_BIG_HINT);
    }
    Some(match sqlstate {
        "28P01" => {
            "Check user and password: the secret that password_secret names, the passfile or the \
             environment variable must hold the password of this user on the source."
        }
        "28000" if message.contains("not permitted to log in") => {
            "Let the role log in: ALTER ROLE … LOGIN on the source."
        }
        "28000" if message.contains("replication") && !message.contains("pg_hba") => {
            "Let the role replicate: ALTER ROLE … REPLICATION on the source."
        }
        "28000" => {
            "Let this user in from this address to this database: add a line to pg_hba.conf on the \
             source (its database column must name the database; `replication` isn't needed) and reload it."
        }
        "3D000" => "Check dbname: no database of this name exists on the source.",
        "42501" if message.contains("replication") => {
            "Let the role replicate: ALTER ROLE … REPLICATION on the source."
        }
        "42501" => {
            "Give the role what it lacks on the source: GRANT USAGE ON SCHEMA and GRANT SELECT ON the \
             published tables."
        }
        "53300" if message.contains("for role") => {
            "Let the role have more sessions: ALTER ROLE … CONNECTION LIMIT 5 on the source, at least."
        }
        "53300" if message.contains("max_wal_senders") => {
            "Raise max_wal_senders on the source and restart it, or end replication sessions that nobody needs."
        }
        "53300" => "Raise max_connections on the source, or the role's or the database's CONNECTION LIMIT.",
        "53400" if message.contains("replication slots") => {
            "Raise max_replication_slots on the source and restart it, or drop slots that nobody needs \
             (pg_replication_slots)."
        }
        "55000" if message.contains("wal_level") => {
            "Set wal_level = logical on the source (ALTER SYSTEM SET wal_level = 'logical') and restart it."
        }
        "55000" if slot_was_lost(message) => {
            "Raise max_slot_wal_keep_size on the source, so that a pause doesn't cost the slot."
        }
        "55006" => {
            "Another session holds it (pg_replication_slots.active_pid); a dead one is given up after \
             wal_sender_timeout."
        }
        _ => return None,
    })
}

/// A table, a schema or a column that isn't there any more; or never was, where the names come from
/// a catalog of some time ago.
pub fn is_gone(sqlstate: &str, message: &str) -> bool {
    match sqlstate {
        "42P01" | "3F000" | "42703" => true,
        // It went while a function of the server's looked at it.
        "XX000" => {
            message.contains("could not open relation with OID")
                || message.contains("cache lookup failed for")
        }
        _ => false,
    }
}

/// A row, a field or a message beyond PostgreSQL's 1 GB.
pub fn is_too_big(sqlstate: &str, message: &str) -> bool {
    match sqlstate {
        "54000" => true,
        "XX000" => message.contains("invalid memory alloc request size"),
        _ => false,
    }
}

/// The message without the value that a type's input function quotes in it.
pub fn discreet(sqlstate: &str, message: &str) -> String {
    const QUOTE_A_VALUE: [&str; 6] = ["22P02", "22P03", "22003", "22007", "22008", "22021"];
    if !QUOTE_A_VALUE.contains(&sqlstate) {
        return message.to_owned();
    }
    // From the first quote to the last: a value may hold quotes of its own.
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}\"…\"{}", &message[..first], &message[last + 1..])
        }
        _ => message.to_owned(),
    }
}

fn slot_was_lost(message: &str) -> bool {
    message.contains("can no longer") || message.contains("has been invalidated")
}

/// PgBouncer refuses the startup parameter `replication`; Supavisor knows tenants; the server
/// behind a pooler in statement mode knows neither.
fn speaks_of_a_pooler(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "unsupported startup parameter",
        "unsupported startup option",
        "pgbouncer",
        "supavisor",
        "tenant or user not found",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::discreet;

    #[test]
    fn the_value_that_an_input_function_quotes_is_left_out_and_names_stay() {
        for (sqlstate, message, told) in [
            (
                "22P02",
                "invalid input syntax for type integer: \"4711\"",
                "invalid input syntax for type integer: \"…\"",
            ),
            (
                "22003",
                "value \"70000\" is out of range for type smallint",
                "value \"…\" is out of range for type smallint",
            ),
            (
                "22007",
                "invalid input syntax for type date: \"a \"quoted\" one\"",
                "invalid input syntax for type date: \"…\"",
            ),
            ("22003", "integer out of range", "integer out of range"),
            (
                "23514",
                "new row for relation \"t\" violates check constraint \"c\"",
                "new row for relation \"t\" violates check constraint \"c\"",
            ),
        ] {
            assert_eq!(discreet(sqlstate, message), told);
        }
    }
}
