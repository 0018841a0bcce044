//! What modules and upgrades do to tables: columns come, go, and change, in a transaction of their
//! own or among rows.

use super::schema::TABLES;
use super::statements::statement;
use crate::harness::Rng;

/// Alters a table; the model's sums are taken before and after, under the lock that it needs
/// anyway.
pub fn alter(rng: &mut Rng) -> String {
    let table = rng.pick(&TABLES).name;
    let word = rng.text(4).to_lowercase();
    let change = match rng.number(0..16) {
        0 | 1 => format!("ALTER TABLE {table} ADD COLUMN x_{word} int"),
        2 | 3 => format!("ALTER TABLE {table} ADD COLUMN x_{word} text DEFAULT 'constant {word}'"),
        4 => format!("ALTER TABLE {table} ADD COLUMN x_{word} text DEFAULT md5(random()::text)"),
        5..7 => of_extra(table, "ALTER TABLE %I DROP COLUMN %I"),
        7 => of_extra(table, &format!("ALTER TABLE %I RENAME COLUMN %I TO x_{word}")),
        8 => of_extra(table, "ALTER TABLE %1$I ALTER COLUMN %2$I TYPE text USING %2$I::text || '!'"),
        9 => of_extra(
            table,
            "ALTER TABLE %1$I ALTER COLUMN %2$I DROP DEFAULT, ALTER COLUMN %2$I TYPE jsonb USING to_jsonb(%2$I)",
        ),
        10 => format!("ALTER TABLE {table} ALTER COLUMN b TYPE {}", rng.pick(&["bigint", "int"])),
        11 => format!("ALTER TABLE {table} ALTER COLUMN a TYPE {}", rng.pick(&["text", "varchar(80)"])),
        12 => format!(
            "ALTER TABLE {table} ALTER COLUMN n TYPE {}",
            rng.pick(&["numeric(24, 6)", "numeric(20, 4)", "numeric"])
        ),
        13 => of_extra(table, "UPDATE %I SET %I = NULL WHERE b % 3 = 0"),
        14 => format!(
            "ALTER TABLE {table} ADD COLUMN x_{word} int; UPDATE {table} SET x_{word} = b; ALTER TABLE {table} DROP COLUMN x_{word}"
        ),
        _ => format!("ALTER TABLE {table} ALTER COLUMN b SET DEFAULT 7, ALTER COLUMN f SET STATISTICS 50"),
    };
    let before = if rng.one_in(2) { statement(rng) } else { String::new() };
    let after = if rng.one_in(2) { statement(rng) } else { String::new() };
    format!(
        "{before}; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT whole_sum('{table}', -1);
         SET oracle.quiet = 'on'; {change}; SET oracle.quiet = 'off'; SELECT whole_sum('{table}', 1); {after}"
    )
}

/// Of a column that was added before, if there is one.
fn of_extra(table: &str, format: &str) -> String {
    let format = format.replace(" % ", " %% ");
    format!(
        "DO $do$ DECLARE extra name := (SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname LIKE 'x\\_%' AND NOT attisdropped LIMIT 1);
         BEGIN IF extra IS NOT NULL THEN EXECUTE format($${format}$$, '{table}', extra); END IF; END $do$"
    )
}
