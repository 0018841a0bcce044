//! The types of published columns, with what they are made of: an array's element, a domain's base,
//! labels, attributes.
//!
//! A part of [`super::catalog`].

use std::cell::Cell;
use std::collections::HashMap;

use tokio_postgres::{Client, Row};

use super::catalog::character;
use crate::error::Error;
use crate::mirror::source_table::{Member, SourceType};

/// A type with its modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TypeKey {
    pub(super) oid: u32,
    pub(super) modifier: i32,
}

/// An array is what its element's `typarray` names: `int2vector` has an element too, and isn't one.
/// Its modifier is its element's. What 13 doesn't know yet, a range's multirange, is read as JSON.
const TYPES: &str = "
    WITH RECURSIVE used (oid, typmod) AS (
        SELECT a.atttypid, a.atttypmod
        FROM pg_attribute a
        WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
        UNION
        SELECT part.oid, part.typmod
        FROM used u
        JOIN pg_type t ON t.oid = u.oid
        CROSS JOIN LATERAL (
            SELECT e.oid, u.typmod FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid
            UNION ALL
            SELECT t.typbasetype, t.typtypmod WHERE t.typtype = 'd'
            UNION ALL
            SELECT a.atttypid, a.atttypmod FROM pg_attribute a
            WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL
            SELECT r.rngsubtype, -1 FROM pg_range r WHERE t.typtype = 'r' AND r.rngtypid = t.oid
            UNION ALL
            SELECT r.rngtypid, -1 FROM pg_range r WHERE t.typtype = 'm' AND (to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid
        ) part (oid, typmod)
    )
    SELECT t.oid, u.typmod, n.nspname, t.typname, t.typtype,
           format_type(t.oid, u.typmod) AS formatted,
           (SELECT x.extname FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
            WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
              AND d.refclassid = 'pg_extension'::regclass LIMIT 1) AS extension,
           e.oid AS element, nullif(t.typbasetype, 0) AS base, t.typtypmod
    FROM used u
    JOIN pg_type t ON t.oid = u.oid
    JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid";

/// What enums, composites, ranges and multiranges are made of.
const MEMBERS: &str = "
    SELECT e.enumtypid AS owner, e.oid::int8 AS id, e.enumlabel::text AS label, NULL::oid AS part, NULL::int4 AS typmod
    FROM pg_enum e WHERE e.enumtypid = ANY ($1)
    UNION ALL
    SELECT t.oid, a.attnum, NULL, a.atttypid, a.atttypmod
    FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
    WHERE t.oid = ANY ($1) AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT r.rngtypid, 0, NULL, r.rngsubtype, -1 FROM pg_range r WHERE r.rngtypid = ANY ($1)
    UNION ALL
    SELECT (to_jsonb(r) ->> 'rngmultitypid')::oid, 0, NULL, r.rngtypid, -1
    FROM pg_range r WHERE (to_jsonb(r) ->> 'rngmultitypid')::oid = ANY ($1)
    ORDER BY 1, 2";

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
    let members = read_members(client, &rows).await?;
    let found = Found { rows, members, parts: Cell::new(0) };
    let mut types = HashMap::new();
    for key in found.rows.keys() {
        if let Some(built) = build(*key, &found, 0)? {
            types.insert(*key, built);
        }
    }
    Ok(types)
}

/// What types may be made of: the source might say that one is made of itself.
const DEEPEST: usize = 64;
const MOST_PARTS: usize = 100_000;

struct Found {
    rows: HashMap<TypeKey, Row>,
    /// By the type's OID.
    members: HashMap<u32, Vec<Row>>,
    /// How many were built so far.
    parts: Cell<usize>,
}

/// None where a part of the type is missing: it was dropped while the query ran.
fn build(key: TypeKey, found: &Found, depth: usize) -> Result<Option<SourceType>, Error> {
    let Some(row) = found.rows.get(&key) else { return Ok(None) };
    found.parts.set(found.parts.get() + 1);
    if depth > DEEPEST || found.parts.get() > MOST_PARTS {
        return Err(Error::stop("the types of the source's columns are made of too many others"));
    }
    let element: Option<u32> = row.try_get("element")?;
    let base: Option<u32> = row.try_get("base")?;
    let part = match (element, base) {
        (Some(oid), _) => build(TypeKey { oid, modifier: key.modifier }, found, depth + 1)?,
        (None, Some(oid)) => build(TypeKey { oid, modifier: row.try_get("typtypmod")? }, found, depth + 1)?,
        (None, None) => None,
    };
    if part.is_none() && (element.is_some() || base.is_some()) {
        return Ok(None);
    }
    let part = part.map(Box::new);
    let mut made_of = Vec::new();
    for member in found.members.get(&key.oid).into_iter().flatten() {
        let part: Option<u32> = member.try_get("part")?;
        let data_type = match part {
            None => None,
            Some(oid) => {
                let Some(part) =
                    build(TypeKey { oid, modifier: member.try_get("typmod")? }, found, depth + 1)?
                else {
                    return Ok(None);
                };
                Some(Box::new(part))
            }
        };
        made_of.push(Member { id: member.try_get("id")?, label: member.try_get("label")?, data_type });
    }
    let (element, base) = if element.is_some() { (part, None) } else { (None, part) };
    Ok(Some(SourceType {
        oid: key.oid,
        modifier: key.modifier,
        schema: row.try_get("nspname")?,
        name: row.try_get("typname")?,
        kind: character(row, "typtype")?,
        formatted: row.try_get("formatted")?,
        extension: row.try_get("extension")?,
        element,
        base,
        members: made_of,
    }))
}

/// By the type's OID; nothing is asked where all types are plain ones.
async fn read_members(
    client: &Client,
    types: &HashMap<TypeKey, Row>,
) -> Result<HashMap<u32, Vec<Row>>, Error> {
    let mut owners = Vec::new();
    for (key, row) in types {
        if matches!(character(row, "typtype")?, 'e' | 'c' | 'r' | 'm') {
            owners.push(key.oid);
        }
    }
    let mut members: HashMap<u32, Vec<Row>> = HashMap::new();
    if !owners.is_empty() {
        for row in client.query(MEMBERS, &[&owners]).await? {
            members.entry(row.try_get("owner")?).or_default().push(row);
        }
    }
    Ok(members)
}
