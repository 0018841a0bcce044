//! What became, on the source, of a mirrored table that the publication has no longer. Names are
//! quoted already.

/// Where such a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// It was dropped.
    Gone,
    /// It is there, and could be published.
    There { table: String },
    /// It lies in another schema, or is called otherwise, and isn't published as such.
    Moved { table: String },
    /// Its changes aren't written to the WAL.
    Unlogged { table: String },
    /// Its rows are published as another table's.
    PartOf { table: String, root: String },
}

impl Whereabouts {
    /// Why the table stands still.
    pub fn reason(&self) -> String {
        const LEFT: &str = "the source no longer publishes it";
        match self {
            Self::There { .. } => LEFT.to_owned(),
            Self::Gone => format!("{LEFT}: it was dropped there"),
            Self::Moved { table } => format!("{LEFT}: it is {table} there now"),
            Self::Unlogged { table } => format!("{LEFT}: {table} is unlogged now"),
            Self::PartOf { table, root } => format!("{LEFT}: {table} is a partition of {root} now"),
        }
    }

    /// What to do: `here` is the mirror's table.
    pub fn hint(&self, here: &str, publication: &str) -> String {
        let forget = format!("DROP TABLE {here}; and it is forgotten.");
        let add = |table: &str| format!("ALTER PUBLICATION {publication} ADD TABLE {table};");
        match self {
            Self::Gone => format!("Its rows stay here as they were. When nobody needs them: {forget}"),
            Self::There { table } | Self::Moved { table } => {
                format!("Its rows stay here as they were. On the source: {} Or here: {forget}", add(table))
            }
            Self::Unlogged { table } => format!(
                "Its rows stay here as they were. On the source: ALTER TABLE {table} SET LOGGED; {} Or here: {forget}",
                add(table)
            ),
            Self::PartOf { root, .. } => {
                format!("Its rows are among those of {root}. When nobody reads them here: {forget}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_what_it_is_and_what_helps_there_and_here() {
        let table = || "hr.\"Gone\"".to_owned();
        let all = [
            (Whereabouts::Gone, "dropped", None),
            (
                Whereabouts::There { table: table() },
                "no longer publishes",
                Some("ALTER PUBLICATION p ADD TABLE hr.\"Gone\";"),
            ),
            (
                Whereabouts::Moved { table: table() },
                "hr.\"Gone\" there now",
                Some("ALTER PUBLICATION p ADD TABLE hr.\"Gone\";"),
            ),
            (
                Whereabouts::Unlogged { table: table() },
                "unlogged",
                Some("ALTER TABLE hr.\"Gone\" SET LOGGED;"),
            ),
            (
                Whereabouts::PartOf { table: table(), root: "hr.root".to_owned() },
                "partition of hr.root",
                None,
            ),
        ];
        for (whereabouts, reason, there) in all {
            assert!(whereabouts.reason().contains(reason), "{}", whereabouts.reason());
            let hint = whereabouts.hint("odoo_mirror.hr__gone", "p");
            assert!(hint.contains("DROP TABLE odoo_mirror.hr__gone;"), "{hint}");
            match there {
                Some(statement) => assert!(hint.contains(statement), "{hint}"),
                None => assert!(!hint.contains("On the source"), "{hint}"),
            }
        }
    }
}
