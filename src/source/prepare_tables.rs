//! Whether each published table can be read and followed by the role that is connected.
//!
//! A part of [`super::prepare`]. A table that can't stops only itself.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::check::{Check, Stops};
use super::prepare::count;
use crate::error::Error;
use crate::mirror::quote::{quote_identifier, quote_qualified};
use crate::mirror::shape::identity_note;
use crate::mirror::source_table::SourceTable;

/// What the role may do with a table. LOCK TABLE asks for the table's privilege: those on single
/// columns aren't enough.
struct Rights {
    usage: bool,
    select: bool,
}

/// For each condition one check that says that all tables meet it, or one for each that doesn't.
pub(super) async fn table_checks(client: &Client, tables: &[SourceTable]) -> Result<Vec<Check>, Error> {
    let (role, rights) = read_rights(client, tables).await?;
    let role = quote_identifier(&role);
    // A table that is gone by now is nobody's fault.
    let may = |table: &SourceTable, right: fn(&Rights) -> bool| rights.get(&table.oid).is_none_or(right);

    let usage = each(tables, "schema privilege", "USAGE on their schemas", |table| {
        let schema = quote_identifier(&table.schema);
        (!may(table, |rights| rights.usage)).then(|| {
            (
                format!("role {role} lacks USAGE on schema {schema} of the source"),
                format!("GRANT USAGE ON SCHEMA {schema} TO {role};"),
            )
        })
    });
    let select = each(tables, "table privilege", "SELECT on them", |table| {
        let name = qualified(table);
        (!may(table, |rights| rights.select)).then(|| {
            (
                format!("role {role} lacks SELECT on table {name} of the source"),
                format!("GRANT SELECT ON TABLE {name} TO {role};"),
            )
        })
    });
    let row_security = each(tables, "row-level security", "no policy in the way", |table| {
        let name = qualified(table);
        table.row_security.then(|| {
            (
                format!("row-level security hides rows of table {name} from role {role}"),
                // Not a policy USING (true): row_security = off would refuse the read all the same.
                format!("ALTER ROLE {role} BYPASSRLS;"),
            )
        })
    });
    let identity = each(tables, "row identity", "a key to follow updates and deletes by", |table| {
        identity_note(table).map(|note| (format!("table {} has no usable identity", qualified(table)), note))
    })
    .into_iter()
    .map(|check| check.stopping(Stops::Nothing));
    Ok(usage.into_iter().chain(select).chain(row_security).chain(identity).collect())
}

/// `fault` is a failing table's detail and hint.
fn each(
    tables: &[SourceTable],
    name: &'static str,
    fine: &str,
    fault: impl Fn(&SourceTable) -> Option<(String, String)>,
) -> Vec<Check> {
    let failed: Vec<Check> = tables
        .iter()
        .filter_map(|table| {
            let (detail, hint) = fault(table)?;
            let stops = Stops::Table { schema: table.schema.clone(), name: table.name.clone() };
            Some(Check::failed(name, detail, hint).stopping(stops))
        })
        .collect();
    if failed.is_empty() {
        vec![Check::passed(name, format!("{} with {fine}", count(tables.len(), "table")))]
    } else {
        failed
    }
}

/// The role's name, and its rights by the tables' OIDs.
async fn read_rights(
    client: &Client,
    tables: &[SourceTable],
) -> Result<(String, HashMap<u32, Rights>), Error> {
    let role: String = client.query_one("SELECT current_user::text", &[]).await?.try_get(0)?;
    let sql = "
        SELECT c.oid, has_schema_privilege(c.relnamespace, 'USAGE'), has_table_privilege(c.oid, 'SELECT')
        FROM pg_class c
        WHERE c.oid = ANY ($1)";
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let mut rights = HashMap::new();
    for row in client.query(sql, &[&oids]).await? {
        let of_table = Rights {
            usage: row.try_get::<_, Option<bool>>(1)?.unwrap_or(true),
            select: row.try_get::<_, Option<bool>>(2)?.unwrap_or(true),
        };
        rights.insert(row.try_get(0)?, of_table);
    }
    Ok((role, rights))
}

fn qualified(table: &SourceTable) -> String {
    quote_qualified(&table.schema, &table.name)
}
