//! Looks for tables that the publication has no longer.

use tokio_postgres::Client;

use crate::error::Error;
use crate::mirror::whereabouts::Whereabouts;

/// A table as it was last published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub oid: u32,
    pub schema: String,
    pub name: String,
}

/// A table of that OID, or else one of that name, which was made anew.
const QUERY: &str = "
    SELECT c.oid IS NOT NULL, CASE WHEN c.oid IS NULL THEN '' ELSE format('%I.%I', n.nspname, c.relname) END,
           (n.nspname, c.relname) IS DISTINCT FROM (l.schema, l.name), c.relpersistence = 'u',
           CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::regclass::text END
    FROM unnest($1::oid[], $2::text[], $3::text[]) WITH ORDINALITY AS l (oid, schema, name, place)
    LEFT JOIN LATERAL (
        SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND (c.oid = l.oid OR (n.nspname, c.relname) = (l.schema, l.name))
        ORDER BY c.oid <> l.oid LIMIT 1) c ON true
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY l.place";

/// What became of each, in their order.
pub async fn whereabouts(client: &Client, lost: &[Lost]) -> Result<Vec<Whereabouts>, Error> {
    let oids: Vec<u32> = lost.iter().map(|lost| lost.oid).collect();
    let schemas: Vec<&str> = lost.iter().map(|lost| &*lost.schema).collect();
    let names: Vec<&str> = lost.iter().map(|lost| &*lost.name).collect();
    let rows = client.query(QUERY, &[&oids, &schemas, &names]).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let table: String = row.try_get(1)?;
        let root: Option<String> = row.try_get(4)?;
        all.push(match (row.try_get(0)?, row.try_get::<_, Option<bool>>(3)?, root) {
            (false, ..) => Whereabouts::Gone,
            (true, Some(true), _) => Whereabouts::Unlogged { table },
            (true, _, Some(root)) => Whereabouts::PartOf { table, root },
            (true, ..) if row.try_get(2)? => Whereabouts::Moved { table },
            (true, ..) => Whereabouts::There { table },
        });
    }
    Ok(all)
}
