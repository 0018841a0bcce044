//! Which type here stands for which type of the source, and in what form its values may travel.
//!
//! The rule is to keep the type where that is safe and fall back to text, which is always right.
//! money stays: its binary form is a count of the smallest unit, whatever the locale. Its text form
//! means the same only to sessions with one lc_monetary, so those that use it must set C on both
//! sides. Knows types only; what a table does with them is [`super::shape`]'s.

use super::source_table::SourceType;

/// A type of this side that stands for one of the source's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeHere {
    /// `format_type(oid, modifier)` here, with the source's modifier, under a search_path that has
    /// no more than pg_catalog. The source prints its types, too, but what it prints is never SQL
    /// here.
    pub formatted: String,
    /// `pg_type.typtype`.
    pub kind: char,
    /// For a domain: `format_type(typbasetype, typtypmod)`.
    pub base: Option<String>,
    /// The statement that lets the mirror's owner use it; None: it may.
    pub missing_grant: Option<String>,
}

/// What a source type becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedType {
    pub sql_type: String,
    pub binary: bool,
    pub as_text: bool,
    /// The statement that lets the mirror's owner use the type here; None: it may.
    pub missing_grant: Option<String>,
}

/// Finds the type of this side that stands for one of the source's, if there is one.
pub type Resolver<'a> = &'a dyn Fn(&SourceType) -> Option<TypeHere>;

/// Types whose values are OIDs: numbers that name something else here than on the source.
const OID_ALIASES: [&str; 12] = [
    "regclass",
    "regcollation",
    "regconfig",
    "regdatabase",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// Types that can be printed but not read back, or have no binary form.
const OUTPUT_ONLY: [&str; 9] = [
    "aclitem",
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_ddl_command",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
];

/// What `source` becomes here.
pub fn map_type(source: &SourceType, resolver: Resolver<'_>) -> MappedType {
    mapped(source, resolver).unwrap_or_else(text)
}

/// Whether two values of this type are equal exactly when their bytes (in one and the same format)
/// are. `deterministic` is the collation's, None for a type without collations.
///
/// False where equality is looser than bytes: numeric (1.0 and 1.00), floats (-0 and 0), interval
/// (a month and 30 days), bpchar (trailing spaces), timetz, jsonb, citext, and types that fell back
/// to text though the source compares them otherwise. Arrays and ranges are left out whole, rather
/// than followed into what they contain: as keys they aren't worth a rule. inet would qualify by
/// equality, but its text hides a mask of all bits that its bytes have.
pub fn bytes_mean_equality(source: &SourceType, deterministic: Option<bool>) -> bool {
    const BY_BYTES: [&str; 12] = [
        "bool",
        "bytea",
        "char",
        "date",
        "int2",
        "int4",
        "int8",
        "oid",
        "time",
        "timestamp",
        "timestamptz",
        "uuid",
    ];
    match source.kind {
        'e' => true,
        'd' => source.base.as_ref().is_some_and(|base| bytes_mean_equality(base, deterministic)),
        'b' if source.schema == "pg_catalog" => match source.name.as_str() {
            "text" | "varchar" | "name" => deterministic != Some(false),
            name => BY_BYTES.contains(&name),
        },
        _ => false,
    }
}

fn text() -> MappedType {
    MappedType { sql_type: "text".to_owned(), binary: false, as_text: true, missing_grant: None }
}

/// None where only text will do.
fn mapped(source: &SourceType, resolver: Resolver<'_>) -> Option<MappedType> {
    if let Some(element) = &source.element {
        return array(source, element, resolver);
    }
    if source.kind == 'd' {
        return domain(source, resolver);
    }
    if source.schema == "pg_catalog" {
        return built_in(source, resolver);
    }
    // Its binary form is of no use: a composite's holds the OIDs of its columns' types, an
    // extension's may change with its version. An enum's is its label.
    let here = resolver(source).filter(|here| here.kind == source.kind)?;
    Some(MappedType {
        sql_type: here.formatted,
        binary: source.kind == 'e',
        as_text: false,
        missing_grant: here.missing_grant,
    })
}

fn built_in(source: &SourceType, resolver: Resolver<'_>) -> Option<MappedType> {
    let name = source.name.as_str();
    let unusable = OID_ALIASES.contains(&name) || OUTPUT_ONLY.contains(&name);
    // A row of a system catalog: its columns are another version's here.
    if unusable || source.kind == 'c' {
        return None;
    }
    let here = resolver(source)?;
    // The receive functions of these two refuse the empty vector that their send functions write.
    let binary = !matches!(source.name.as_str(), "int2vector" | "oidvector");
    Some(MappedType { sql_type: here.formatted, binary, as_text: false, missing_grant: here.missing_grant })
}

fn array(source: &SourceType, element: &SourceType, resolver: Resolver<'_>) -> Option<MappedType> {
    let mapped = mapped(element, resolver)?;
    // An array's binary form holds its element type's OID, which is the same only for built-in
    // ones.
    let built_in = source.schema == "pg_catalog" && element.schema == "pg_catalog";
    Some(MappedType {
        sql_type: format!("{}[]", mapped.sql_type),
        binary: built_in && mapped.binary,
        as_text: false,
        missing_grant: mapped.missing_grant,
    })
}

fn domain(source: &SourceType, resolver: Resolver<'_>) -> Option<MappedType> {
    let base = mapped(source.base.as_deref()?, resolver)?;
    // On the wire a domain is its base type, so a domain of the same name over another type won't
    // do.
    let here = resolver(source).filter(|here| here.kind == 'd' && here.base.as_ref() == Some(&base.sql_type));
    Some(match here {
        Some(here) => MappedType { sql_type: here.formatted, missing_grant: here.missing_grant, ..base },
        None => base,
    })
}
