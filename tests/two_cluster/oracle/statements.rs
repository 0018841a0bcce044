//! Random statements: what people, modules and imports do to tables.

use super::schema::{TABLES, Table};
use crate::harness::Rng;

/// Keys lie around here.
const KEYS: i64 = 3000;

pub fn statement(rng: &mut Rng) -> String {
    let table = *rng.pick(&TABLES);
    match table.key {
        [] => keyless(rng, table.name),
        _ => keyed(rng, table),
    }
}

fn keyed(rng: &mut Rng, table: Table) -> String {
    let name = table.name;
    let (row, other) = (key(rng, table), key(rng, table));
    let at = |values: &[String]| {
        let terms = table.key.iter().zip(values).map(|(column, value)| format!("{column} = {value}"));
        terms.collect::<Vec<_>>().join(" AND ")
    };
    let word = rng.text(8);
    let insert = insert(rng, table, &row, &word);
    let columns = table.key.join(", ");
    match rng.number(0..100) {
        0..18 => format!("{insert} ON CONFLICT DO NOTHING"),
        18..28 => {
            format!("{insert} ON CONFLICT ({columns}) DO UPDATE SET a = excluded.a, b = {name}.b + 1")
        }
        // What is stored out of line stays as it is.
        28..48 => format!("UPDATE {name} SET a = '{word}', b = b + 1 WHERE {}", at(&row)),
        48..54 => format!("UPDATE {name} SET big = {}, f = f * 1.1 WHERE {}", big(rng), at(&row)),
        54..72 => {
            let set = table.key.iter().zip(&other).map(|(column, value)| format!("{column} = {value}"));
            let set = set.collect::<Vec<_>>().join(", ");
            let more = if rng.one_in(2) { format!(", a = '{word}'") } else { String::new() };
            format!(
                "UPDATE {name} SET {set}{more} WHERE {} AND NOT EXISTS (SELECT FROM {name} WHERE {})",
                at(&row),
                at(&other)
            )
        }
        72..84 => format!("DELETE FROM {name} WHERE {}", at(&row)),
        84..88 => format!("DELETE FROM {name} WHERE {}; {insert}", at(&row)),
        88..94 if !table.text => {
            let from = rng.number(0..KEYS);
            let to = from + rng.number(1..60);
            format!("UPDATE {name} SET b = b + 1, n = n + 0.5 WHERE {} BETWEEN {from} AND {to}", table.key[0])
        }
        94..97 if !table.text => {
            // All keys of a stretch move on, past each other's old places.
            let (from, by) = (rng.number(0..KEYS), KEYS + rng.number(1..500) * 7);
            let to = from + rng.number(1..30);
            let first = table.key[0];
            format!(
                "UPDATE {name} SET {first} = {first} + {by} WHERE {first} BETWEEN {from} AND {to}
                 AND NOT EXISTS (SELECT FROM {name} WHERE {first} BETWEEN {from} + {by} AND {to} + {by})"
            )
        }
        _ => {
            let from = rng.number(0..KEYS);
            match table.text {
                true => format!("DELETE FROM {name} WHERE k > 'K{from}' AND k < 'K{from}5'"),
                false => {
                    format!("DELETE FROM {name} WHERE {} BETWEEN {from} AND {}", table.key[0], from + 20)
                }
            }
        }
    }
}

/// Rows that are there more than once, and can't be told apart.
fn keyless(rng: &mut Rng, name: &str) -> String {
    let (id, word, many) = (rng.number(0..200), rng.text(3), rng.number(1..4));
    let some = format!("ctid IN (SELECT ctid FROM {name} WHERE id = {id} LIMIT {many})");
    match rng.number(0..10) {
        0..4 => format!(
            "INSERT INTO {name} (id, a, b, big) SELECT {id}, 'same', {id} % 5, {} FROM generate_series(1, {many})",
            big(rng)
        ),
        4..7 => format!("UPDATE {name} SET a = '{word}' WHERE {some}"),
        7 => format!("UPDATE {name} SET id = id + 1 WHERE {some}"),
        8 => format!("DELETE FROM {name} WHERE id = {id}"),
        _ => format!("DELETE FROM {name} WHERE {some}"),
    }
}

fn insert(rng: &mut Rng, table: Table, row: &[String], word: &str) -> String {
    format!(
        "INSERT INTO {} ({}, a, b, n, f, at, j, big) VALUES ({}, '{word}', {}, {}, {}.1, 'epoch'::timestamptz + interval '{} s', '{{\"w\": \"{word}\"}}', {})",
        table.name,
        table.key.join(", "),
        row.join(", "),
        rng.number(0..1000),
        rng.number(0..1000),
        rng.number(0..1000),
        rng.number(0..1_000_000_000),
        big(rng)
    )
}

/// Many rows at once: up to `most`.
pub fn bulk(rng: &mut Rng, most: i64) -> String {
    let table = *rng.pick(&["t_big", "t_big", "t_int", "t_moving"]);
    let rows = rng.number(most / 10..most);
    let from = rng.number(0..100_000);
    let word = rng.text(5);
    match rng.number(0..6) {
        0..3 => format!(
            "INSERT INTO {table} (id, a, b, big) SELECT n, '{word}', n % 1000, repeat('{word}', 20) FROM generate_series({from}, {}) n
             ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = {table}.b + 1",
            from + rows
        ),
        3 => format!("UPDATE {table} SET b = b + 1 WHERE id BETWEEN {from} AND {}", from + rows),
        4 => format!(
            "UPDATE {table} SET id = id + 1000000 WHERE id BETWEEN {from} AND {0} AND NOT EXISTS (SELECT FROM {table} WHERE id BETWEEN {from} + 1000000 AND {0} + 1000000)",
            from + rows.min(2000)
        ),
        _ => format!("DELETE FROM {table} WHERE id BETWEEN {from} AND {}", from + rows),
    }
}

/// So that no table grows for ever.
pub fn shrink(rng: &mut Rng) -> String {
    let keep = rng.number(3..6);
    format!(
        "DELETE FROM t_big WHERE id % 7 < {keep} AND (SELECT count(*) FROM t_big) > 60000;
         DELETE FROM t_int WHERE id % 7 < {keep} AND (SELECT count(*) FROM t_int) > 20000;
         DELETE FROM t_moving WHERE id % 7 < {keep} AND (SELECT count(*) FROM t_moving) > 20000"
    )
}

pub fn truncate(rng: &mut Rng) -> String {
    let (table, other) = (rng.pick(&TABLES).name, rng.pick(&TABLES).name);
    match rng.number(0..4) {
        0 if table != other => format!("TRUNCATE {table}, {other}"),
        1 => format!(
            "TRUNCATE {table}; INSERT INTO {table} (a, b, {0}) SELECT 'again', 1, {1} FROM generate_series(1, 300) n",
            key_columns(table),
            key_values(table)
        ),
        _ => format!("TRUNCATE {table}"),
    }
}

fn key_columns(table: &str) -> &'static str {
    match table {
        "t_text" => "k",
        "t_two" => "k1, k2",
        _ => "id",
    }
}

fn key_values(table: &str) -> &'static str {
    match table {
        "t_text" => "'K' || n",
        "t_two" => "n / 20, n % 20",
        _ => "n",
    }
}

/// Literals of a row's key.
fn key(rng: &mut Rng, table: Table) -> Vec<String> {
    let number = rng.number(0..KEYS);
    match table.name {
        "t_text" if number % 7 == 0 => vec![format!("'K{}' || repeat('z', 2300)", number % 400)],
        "t_text" => vec![format!("'K{}'", number % 400)],
        "t_two" => vec![(number / 20).to_string(), (number % 20).to_string()],
        "t_wide" => vec![(number % 250).to_string()],
        _ => vec![number.to_string()],
    }
}

fn big(rng: &mut Rng) -> String {
    match rng.number(0..10) {
        0..5 => "NULL".into(),
        5..9 => format!("repeat('{}', {})", rng.text(30), rng.number(70..130)),
        _ => format!("repeat('{}', 1000)", rng.text(20)),
    }
}
