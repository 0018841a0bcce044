//! The order that a table's keys are walked in for comparing. It must be the same on both sides,
//! whatever their collations and encodings: types that sort alike everywhere sort as they do, and
//! have an index; of any other the text's UTF-8 bytes are sorted.

use super::fence::RowKey;
use super::quote::{quote_identifier, quote_literal};
use super::source_table::SourceTable;

/// Types that every server sorts alike, by OID; integers of any width are compared as the widest.
const ALIKE: [(u32, &str); 14] = [
    (16, "bool"),
    (17, "bytea"),
    (20, "int8"),
    (21, "int8"),
    (23, "int8"),
    (26, "oid"),
    (700, "float4"),
    (701, "float8"),
    (1082, "date"),
    (1083, "time"),
    (1114, "timestamp"),
    (1184, "timestamptz"),
    (1700, "numeric"),
    (2950, "uuid"),
];

/// One column of a key, as its order sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderColumn {
    name: String,
    /// The type that it is compared as; None: by its text.
    as_type: Option<&'static str>,
    /// pg_catalog has an equality for its type that takes a value as it is written.
    has_equality: bool,
}

impl OrderColumn {
    /// The column of this name.
    pub fn of(source: &SourceTable, name: &str) -> OrderColumn {
        let data_type = source.column(name).map(|column| &column.data_type);
        let oid = data_type.map_or(0, |data_type| data_type.oid);
        let as_type = ALIKE.iter().find(|(alike, _)| *alike == oid).map(|(_, name)| *name);
        // Of an enum, too; neither of a domain over one, nor of a composite or an extension's type.
        let has_equality = data_type.is_some_and(|data_type| {
            data_type.kind == 'e' || data_type.kind == 'b' && data_type.schema == "pg_catalog"
        });
        OrderColumn { name: name.to_owned(), as_type, has_equality }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_integer(&self) -> bool {
        self.as_type == Some("int8")
    }

    /// The key's index is in this order.
    pub fn has_index(&self) -> bool {
        self.as_type.is_some()
    }

    /// What is told of a row's place.
    pub fn shown(&self) -> String {
        let name = quote_identifier(&self.name);
        if self.as_type.is_some() { name } else { format!("ROW({name})::text") }
    }

    /// What is compared. A row's text is what the type's output function writes, never a cast of
    /// the type's own.
    pub fn expression(&self, recodes: bool) -> String {
        match (self.as_type, recodes) {
            (Some(_), _) => self.shown(),
            (None, false) => format!("({} COLLATE \"C\")", self.shown()),
            (None, true) => format!("pg_catalog.convert_to({}, 'UTF8')", self.shown()),
        }
    }

    /// What a value that is looked for is compared with [`Self::sought`] as: by the key's index
    /// where there is an equality, else by text.
    pub fn seeker(&self) -> String {
        if self.has_equality {
            quote_identifier(&self.name)
        } else {
            format!("ROW({})::text", quote_identifier(&self.name))
        }
    }

    /// A value that is looked for.
    pub fn sought(&self, value: &str) -> String {
        let value = quote_literal(value);
        if self.has_equality { value } else { format!("ROW({value}::pg_catalog.text)::text") }
    }

    fn literal(&self, value: &str, recodes: bool) -> String {
        match (self.as_type, recodes) {
            (Some(name), _) => format!("{}::pg_catalog.{name}", quote_literal(value)),
            (None, false) => format!("({}::pg_catalog.text COLLATE \"C\")", quote_literal(value)),
            // As bytes: the other side's letters may be none here.
            (None, true) => {
                let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
                format!("'\\x{hex}'::pg_catalog.bytea")
            }
        }
    }
}

/// A place in the order, as SQL.
pub(super) fn bound(order: &[OrderColumn], key: &RowKey, recodes: bool) -> String {
    let values: Vec<String> =
        order.iter().zip(key).map(|(column, value)| column.literal(value, recodes)).collect();
    values.join(", ")
}

/// About how many bytes a row's text has, without reading values that are stored out of line.
pub(super) fn size_of(source: &SourceTable) -> String {
    let fixed =
        |oid: u32| matches!(oid, 16 | 20 | 21 | 23 | 26 | 700 | 701 | 1082 | 1083 | 1114 | 1184 | 2950);
    let mut sum = format!("{}::pg_catalog.int8", 24 + 8 * source.columns.len());
    for column in source.columns.iter().filter(|column| !fixed(column.data_type.oid)) {
        let name = quote_identifier(&column.name);
        sum += &match column.data_type.oid {
            17 => format!(" + coalesce(2 * pg_catalog.octet_length({name})::pg_catalog.int8, 0)"),
            25 | 1043 => format!(" + coalesce(pg_catalog.octet_length({name}), 0)"),
            _ => format!(" + coalesce(pg_catalog.pg_column_size({name}), 0)"),
        };
    }
    sum
}
