//! What the source's tables and columns are said to be: Odoo writes each field's label into the
//! catalog.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::Client;

use crate::error::Error;

/// By column; the table's own under the empty name.
pub type Comments = BTreeMap<String, String>;

/// Of each of these tables, by its OID.
pub async fn comments(client: &Client, oids: &[u32]) -> Result<HashMap<u32, Comments>, Error> {
    let sql = "
        SELECT d.objoid, coalesce(a.attname, '')::text, d.description
        FROM pg_description d
        LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0
        WHERE d.classoid = 'pg_class'::regclass AND d.objoid = ANY ($1) AND (d.objsubid = 0 OR a.attname IS NOT NULL)";
    let mut found: HashMap<u32, Comments> = HashMap::new();
    for row in client.query(sql, &[&oids]).await? {
        found.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?, row.try_get(2)?);
    }
    Ok(found)
}
