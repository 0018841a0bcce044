//! Raw rows of the source, and the little arithmetic that golden answers need: nothing here knows a
//! view's SQL.

use crate::harness::{Cluster, Pair};
use std::collections::BTreeMap;

/// A row: column → text, NULL left out.
pub type Raw = BTreeMap<String, String>;

/// All rows of a table as the source has them; none if there is no such table.
pub fn rows(pair: &Pair, table: &str) -> Vec<Raw> {
    if pair.source_value(&format!("SELECT to_regclass('public.{table}')")).is_empty() {
        return Vec::new();
    }
    documents(&pair.source, "odoo", &format!("SELECT to_jsonb(t) FROM public.{table} t ORDER BY id"))
}

/// What a query answers, each row a document.
pub fn documents(cluster: &Cluster, database: &str, query: &str) -> Vec<Raw> {
    let rows = cluster.rows(database, query);
    rows.into_iter()
        .map(|mut row| {
            let text = row.remove(0).expect("a row");
            let document: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(&text).expect("a document");
            document.into_iter().filter_map(|(name, value)| Some((name, plain(&value)?))).collect()
        })
        .collect()
}

fn plain(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// By id.
pub fn by_id(rows: &[Raw]) -> BTreeMap<i64, &Raw> {
    rows.iter().map(|row| (number(row, "id").expect("every row has an id"), row)).collect()
}

pub fn text(row: &Raw, column: &str) -> Option<String> {
    row.get(column).cloned()
}

pub fn number(row: &Raw, column: &str) -> Option<i64> {
    row.get(column)?.parse().ok()
}

/// An amount in millionths.
pub fn amount(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
    let parse = |digits: &str| digits.parse::<i128>().unwrap_or_else(|_| panic!("not an amount: {text}"));
    sign * (parse(if whole.is_empty() { "0" } else { whole }) * 1_000_000 + parse(&fraction))
}

pub fn amount_of(row: &Raw, column: &str) -> Option<i128> {
    row.get(column).map(|text| amount(text))
}

/// The day of a date or of a timestamp.
pub fn day(row: &Raw, column: &str) -> Option<String> {
    row.get(column).map(|text| text.chars().take(10).collect())
}

/// A name that may be translated.
pub fn label(row: &Raw, column: &str, language: &str) -> Option<String> {
    let text = row.get(column)?;
    match serde_json::from_str::<BTreeMap<String, String>>(text) {
        Ok(translated) => translated
            .get(language)
            .or_else(|| translated.get("en_US"))
            .or_else(|| translated.values().next())
            .cloned(),
        Err(_) => Some(text.clone()),
    }
}
