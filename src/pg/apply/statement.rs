//! The SQL that brings folded changes into a mirror table. Text only. Of the table alone: one that
//! somebody made inherit from it is no mirror.

use crate::mirror::quote::quote_identifier;

/// The name under which a batch's rows are seen by the statements.
pub(super) const ROWS: &str = "odoo_mirror_rows";

/// A table as the statements need it.
pub(super) struct Names<'a> {
    pub(super) table: &'a str,
    /// The columns that the stream carries, in its order.
    pub(super) columns: &'a [String],
    pub(super) key: &'a [String],
}

impl Names<'_> {
    fn target(&self) -> String {
        format!("odoo_mirror.{}", quote_identifier(self.table))
    }

    fn list<'a>(columns: impl IntoIterator<Item = &'a String>, prefix: &str) -> String {
        let quoted = columns.into_iter().map(|column| format!("{prefix}{}", quote_identifier(column)));
        quoted.collect::<Vec<_>>().join(", ")
    }

    /// New rows whose keys are known not to be there.
    pub(super) fn insert(&self) -> String {
        let columns = Self::list(self.columns, "");
        format!("INSERT INTO {} ({columns}) SELECT {columns} FROM {ROWS}", self.target())
    }

    /// Rows that replace what their keys held. `unchanged` marks columns to leave as they are.
    /// Returns for each row whether it was new, and its place. `watched`: notes which row is being
    /// looked at.
    pub(super) fn upsert(&self, unchanged: &[bool], watched: bool) -> String {
        let kept = |index: usize| unchanged.get(index).copied().unwrap_or(false);
        let present: Vec<&String> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(index, _)| !kept(*index))
            .map(|(_, name)| name)
            .collect();
        let columns = Self::list(present.iter().copied(), "");
        let set: Vec<String> = present
            .iter()
            .filter(|column| !self.key.contains(column))
            .map(|column| {
                let column = quote_identifier(column);
                format!("{column} = EXCLUDED.{column}")
            })
            .collect();
        // A table of key columns only: an assignment that changes nothing still returns the row.
        let set = if set.is_empty() {
            let column = quote_identifier(&self.key[0]);
            format!("{column} = EXCLUDED.{column}")
        } else {
            set.join(", ")
        };
        let key = Self::list(self.key, "");
        let noted = if watched { "WHERE odoo_mirror_internal.looks_at_row() " } else { "" };
        format!(
            "INSERT INTO {} AS m ({columns}) SELECT {columns} FROM {ROWS} {noted}\
             ON CONFLICT ({key}) DO UPDATE SET {set} RETURNING m.xmax = '0'::xid, m.ctid",
            self.target()
        )
    }

    pub(super) fn delete_one_column(&self) -> String {
        format!("DELETE FROM ONLY {} WHERE {} = ANY ($1)", self.target(), quote_identifier(&self.key[0]))
    }

    /// Rows by a key of several columns, which the batch's rows carry.
    pub(super) fn delete_several_columns(&self) -> String {
        let on: Vec<String> = self
            .key
            .iter()
            .map(|column| {
                let column = quote_identifier(column);
                format!("m.{column} = r.{column}")
            })
            .collect();
        format!("DELETE FROM ONLY {} AS m USING {ROWS} AS r WHERE {}", self.target(), on.join(" AND "))
    }

    /// One row under the key in `$1`, `$2` … becomes the batch's one row, but for unchanged
    /// columns.
    pub(super) fn rekey(&self, unchanged: &[bool]) -> String {
        let set: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(index, _)| !unchanged.get(*index).copied().unwrap_or(false))
            .map(|(_, column)| {
                let column = quote_identifier(column);
                format!("{column} = r.{column}")
            })
            .collect();
        let on: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(index, column)| format!("m.{} = ${}", quote_identifier(column), index + 1))
            .collect();
        format!(
            "UPDATE ONLY {} AS m SET {} FROM {ROWS} AS r WHERE {}",
            self.target(),
            set.join(", "),
            on.join(" AND ")
        )
    }

    /// Where one row equal to the batch's one row lies. By what the types' output functions write,
    /// and not by a cast, which may be of the type's own: the copy is exact, so are its texts.
    pub(super) fn find_whole(&self) -> String {
        let on: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let column = quote_identifier(column);
                format!("ROW(m.{column})::text COLLATE \"C\" = ROW(r.{column})::text COLLATE \"C\"")
            })
            .collect();
        format!(
            "SELECT m.ctid FROM ONLY {} AS m, {ROWS} AS r WHERE {} LIMIT 1",
            self.target(),
            on.join(" AND ")
        )
    }

    pub(super) fn update_at(&self) -> String {
        let set: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let column = quote_identifier(column);
                format!("{column} = r.{column}")
            })
            .collect();
        format!(
            "UPDATE ONLY {} AS m SET {} FROM {ROWS} AS r WHERE m.ctid = $1",
            self.target(),
            set.join(", ")
        )
    }

    pub(super) fn delete_at(&self) -> String {
        format!("DELETE FROM ONLY {} WHERE ctid = ANY ($1)", self.target())
    }

    /// All rows, or those that `condition` names.
    pub(super) fn delete_where(&self, condition: Option<&str>) -> String {
        let condition = condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        format!("DELETE FROM ONLY {}{condition}", self.target())
    }
}
