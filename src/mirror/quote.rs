//! SQL text from names and values: the only place that puts quotes around anything.
//!
//! It knows no grammar beyond quoting; whoever builds a statement builds the rest.

/// `name` as a quoted identifier, always in quotes, so that no list of keywords is needed.
///
/// ```
/// use odoo_mirror::mirror::quote::quote_identifier;
///
/// assert_eq!(quote_identifier("order"), r#""order""#);
/// assert_eq!(quote_identifier(r#"a"b"#), r#""a""b""#);
/// ```
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name`, both parts quoted.
pub fn quote_qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

/// `names` as a comma-separated list of quoted identifiers.
pub fn quote_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote_identifier).collect::<Vec<_>>().join(", ")
}

/// `value` as a string constant that means the same whatever `standard_conforming_strings` says.
///
/// ```
/// use odoo_mirror::mirror::quote::quote_literal;
///
/// assert_eq!(quote_literal("it's"), "'it''s'");
/// assert_eq!(quote_literal(r"a\b"), r" E'a\\b'");
/// ```
pub fn quote_literal(value: &str) -> String {
    let doubled = value.replace('\'', "''");
    if doubled.contains('\\') {
        // The space keeps the E from joining a word before it, as in quote_literal() itself.
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}
