//! The types of published columns, with what they are made of: an array's element, a domain's base.
//!
//! A part of [`super::catalog`].

use std::collections::HashMap;

use tokio_postgres::{Client, Row};

use super::catalog::character;
use crate::error::Error;
use crate::mirror::source_table::SourceType;

/// A type with its modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TypeKey {
    pub(super) oid: u32,
    pub(super) modifier: i32,
}

/// An array is what its element's `typarray` names: `int2vector` has an element too, and isn't one.
/// Its modifier is its element's.
const TYPES: &str = "
    WITH RECURSIVE used (oid, typmod) AS (
        SELECT a.atttypid, a.atttypmod
        FROM pg_attribute a
        WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
        UNION
        SELECT coalesce(e.oid, t.typbasetype), CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE u.typmod END
        FROM used u
        JOIN pg_type t ON t.oid = u.oid
        LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
        WHERE t.typtype = 'd' OR e.oid IS NOT NULL
    )
    SELECT t.oid, u.typmod, n.nspname, t.typname, t.typtype,
           format_type(t.oid, u.typmod) AS formatted,
           substr(format_type(t.oid, u.typmod), length(format_type(t.oid, NULL)) + 1) AS suffix,
           e.oid AS element, nullif(t.typbasetype, 0) AS base, t.typtypmod
    FROM used u
    JOIN pg_type t ON t.oid = u.oid
    JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid";

/// The types of all columns of `tables`.
pub(super) async fn read_types(
    client: &Client,
    tables: &[u32],
) -> Result<HashMap<TypeKey, SourceType>, Error> {
    let rows: HashMap<TypeKey, Row> = client
        .query(TYPES, &[&tables])
        .await?
        .into_iter()
        .map(|row| Ok((TypeKey { oid: row.try_get("oid")?, modifier: row.try_get("typmod")? }, row)))
        .collect::<Result<_, Error>>()?;
    let mut types = HashMap::new();
    for key in rows.keys() {
        if let Some(built) = build(*key, &rows)? {
            types.insert(*key, built);
        }
    }
    Ok(types)
}

/// None where a part of the type is missing: it was dropped while the query ran.
fn build(key: TypeKey, rows: &HashMap<TypeKey, Row>) -> Result<Option<SourceType>, Error> {
    let Some(row) = rows.get(&key) else { return Ok(None) };
    let element: Option<u32> = row.try_get("element")?;
    let base: Option<u32> = row.try_get("base")?;
    let part = match (element, base) {
        (Some(oid), _) => build(TypeKey { oid, modifier: key.modifier }, rows)?,
        (None, Some(oid)) => build(TypeKey { oid, modifier: row.try_get("typtypmod")? }, rows)?,
        (None, None) => None,
    };
    if part.is_none() && (element.is_some() || base.is_some()) {
        return Ok(None);
    }
    let part = part.map(Box::new);
    let (element, base) = if element.is_some() { (part, None) } else { (None, part) };
    Ok(Some(SourceType {
        oid: key.oid,
        modifier: key.modifier,
        schema: row.try_get("nspname")?,
        name: row.try_get("typname")?,
        kind: character(row, "typtype")?,
        formatted: row.try_get("formatted")?,
        suffix: row.try_get("suffix")?,
        element,
        base,
    }))
}
