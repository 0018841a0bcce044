//! Where to cut a table into key ranges, by what the source knows of its keys.
//!
//! Only estimates are read here; any answer tiles all keys (`mirror::ranges`).

use tokio_postgres::Client;

use crate::error::{Error, Verdict};
use crate::mirror::quote::{quote_identifier, quote_qualified};
use crate::mirror::ranges::{KeyRange, plan_by_quantiles};
use crate::mirror::source_table::SourceTable;

/// A row's width when nothing is known of it: on the small side, for ranges rather too many.
const ASSUMED_ROW_BYTES: i64 = 200;

/// Ranges of about `rows_per_range` rows; one of all keys when the table has no single integer key.
///
/// The keys are taken for evenly spread, or, where the role may see them, spread as the source's
/// statistics say: an Odoo table that lost most of its old rows is cut evenly by rows all the same.
pub async fn range_cuts(
    client: &Client,
    table: &SourceTable,
    rows_per_range: i64,
) -> Result<Vec<KeyRange>, Error> {
    let Some(key) = table.integer_key() else { return Ok(vec![KeyRange::ALL]) };
    let rows = match table.estimated_rows {
        0 => table.bytes / ASSUMED_ROW_BYTES,
        analyzed => analyzed,
    };
    if rows <= rows_per_range {
        return Ok(vec![KeyRange::ALL]);
    }
    let Some((min, max)) = extremes(client, table, &key.name).await? else { return Ok(vec![KeyRange::ALL]) };
    let bounds = histogram(client, table, &key.name).await?;
    Ok(plan_by_quantiles(&within(bounds, min, max), rows, rows_per_range))
}

/// The lowest and the highest key; None when there are no rows, or none that may be read now: what
/// is in the way of that stops the table's copy, and no other table. The key's index answers at
/// once.
async fn extremes(client: &Client, table: &SourceTable, key: &str) -> Result<Option<(i64, i64)>, Error> {
    let only = if table.kind == 'p' { "" } else { "ONLY " };
    let key = quote_identifier(key);
    let name = quote_qualified(&table.schema, &table.name);
    let sql = format!("SELECT min({key})::int8, max({key})::int8 FROM {only}{name}");
    let row = match client.query_one(&sql, &[]).await.map_err(Error::from) {
        Err(error) if of_one_table(&error) => return Ok(None),
        answer => answer?,
    };
    let (min, max): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(min.zip(max))
}

/// A missing privilege or a policy, somebody's ALTER TABLE, a table, schema or column that is gone
/// by now, an index whose function fails: whatever the server says of a query that doesn't mean
/// that it is about to go itself.
fn of_one_table(error: &Error) -> bool {
    let code = error.sqlstate.as_deref();
    code == Some("55P03") || code.is_some() && error.verdict == Verdict::RetrySlowly
}

/// Empty where there are no statistics, or none that this role may see.
async fn histogram(client: &Client, table: &SourceTable, key: &str) -> Result<Vec<i64>, Error> {
    let sql = "
        SELECT histogram_bounds::text::int8[]
        FROM pg_stats
        WHERE schemaname = $1 AND tablename = $2 AND attname = $3 AND inherited = $4";
    let partitioned = table.kind == 'p';
    let asked = client.query_opt(sql, &[&table.schema, &table.name, &key, &partitioned]).await;
    let row = match asked.map_err(Error::from) {
        Err(error) if of_one_table(&error) => return Ok(Vec::new()),
        answer => answer?,
    };
    let bounds: Option<Vec<i64>> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    Ok(bounds.unwrap_or_default())
}

/// The bounds with their ends where the keys end today. Statistics are as old as the last ANALYZE:
/// rows that came since are beyond the last bound, and count as one bucket more.
fn within(bounds: Vec<i64>, min: i64, max: i64) -> Vec<i64> {
    let inside = bounds.into_iter().filter(|bound| min < *bound && *bound < max);
    std::iter::once(min).chain(inside).chain(std::iter::once(max)).collect()
}
