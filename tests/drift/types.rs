//! The types that the source's columns have, and what ALTER COLUMN TYPE does with values and files.

use odoo_mirror::mirror::source_table::SourceType;
use odoo_mirror::mirror::typemap::TypeHere;

/// Places in this list are types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type(usize);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// At most so many characters.
    Text(Option<usize>),
    /// Precision and scale.
    Numeric(Option<(i32, i32)>),
    Integer,
    Mood,
    /// An OID, printed with its arguments or without; the mirror has the text.
    Routine(&'static str),
}

struct Known {
    name: &'static str,
    formatted: &'static str,
    oid: u32,
    modifier: i32,
    family: Family,
    /// Of a domain: the type under it.
    base: Option<usize>,
}

const fn known(
    name: &'static str,
    formatted: &'static str,
    oid: u32,
    modifier: i32,
    family: Family,
    base: Option<usize>,
) -> Known {
    Known { name, formatted, oid, modifier, family, base }
}

use Family::{Integer, Mood, Numeric, Routine, Text};

const TYPES: [Known; 17] = [
    known("varchar", "character varying(10)", 1043, 14, Text(Some(10)), None),
    known("varchar", "character varying(20)", 1043, 24, Text(Some(20)), None),
    known("varchar", "character varying", 1043, -1, Text(None), None),
    known("text", "text", 25, -1, Text(None), None),
    known("numeric", "numeric(10,2)", 1700, 655_366, Numeric(Some((10, 2))), None),
    known("numeric", "numeric(12,2)", 1700, 786_438, Numeric(Some((12, 2))), None),
    known("numeric", "numeric(12,3)", 1700, 786_439, Numeric(Some((12, 3))), None),
    known("numeric", "numeric", 1700, -1, Numeric(None), None),
    known("int4", "integer", 23, -1, Integer, None),
    known("int8", "bigint", 20, -1, Integer, None),
    known("mood", "app.mood", 90_001, -1, Mood, None),
    known("other_mood", "app.other_mood", 90_002, -1, Mood, None),
    known("label", "app.label", 90_003, -1, Text(None), Some(3)),
    known("short", "app.short", 90_004, -1, Text(Some(10)), Some(0)),
    known("other_label", "app.other_label", 90_005, -1, Text(None), Some(3)),
    known("regproc", "regproc", 24, -1, Routine(""), None),
    known("regprocedure", "regprocedure", 2202, -1, Routine("()"), None),
];

/// What the destination knows: the built-in types, and one of the source's enums.
pub fn here(source: &SourceType) -> Option<TypeHere> {
    let built_in = source.schema == "pg_catalog";
    let formatted = if built_in { source.formatted.clone() } else { source.name.clone() };
    let kind = if built_in { 'b' } else { 'e' };
    (built_in || source.name == "other_mood").then_some(TypeHere {
        formatted,
        kind,
        base: None,
        missing_grant: None,
    })
}

impl Type {
    pub fn at(place: usize) -> Type {
        Type(place % TYPES.len())
    }

    fn known(self) -> &'static Known {
        &TYPES[self.0]
    }

    /// How the catalog and a Relation message name it.
    pub fn numbers(self) -> (u32, i32) {
        (self.known().oid, self.known().modifier)
    }

    pub fn of_source(self) -> SourceType {
        let known = self.known();
        let built_in = known.oid < 16_384;
        SourceType {
            oid: known.oid,
            modifier: known.modifier,
            schema: if built_in { "pg_catalog" } else { "app" }.into(),
            name: known.name.into(),
            kind: match known.base {
                Some(_) => 'd',
                None if known.family == Mood => 'e',
                None => 'b',
            },
            formatted: known.formatted.into(),
            extension: None,
            element: None,
            base: known.base.map(|base| Box::new(Type(base).of_source())),
            members: Vec::new(),
        }
    }

    /// A value of the type, as its text.
    pub fn value(self, from: u8) -> String {
        match self.known().family {
            Text(_) => format!("{from}'\"{from}"),
            Numeric(modifier) => {
                scaled(from.into(), modifier.map_or(i32::from(from % 4), |(_, scale)| scale))
            }
            Integer => from.to_string(),
            Mood => ["sad", "ok", "happy"][usize::from(from % 3)].to_owned(),
            Routine(arguments) => format!("f{}{arguments}", from % 3),
        }
    }

    /// The value's text once it is of type `to`; None: the source refuses.
    pub fn cast(self, to: Type, value: &str) -> Option<String> {
        match to.known().family {
            Text(Some(longest)) => (value.len() <= longest).then(|| value.to_owned()),
            Text(None) => Some(value.to_owned()),
            Numeric(modifier) => {
                let number = value.split('.').next()?.parse::<i64>().ok()?;
                match modifier {
                    Some((_, scale)) => Some(rescaled(value, scale)).filter(|_| number.abs() < 1_000_000),
                    None => Some(value.to_owned()),
                }
            }
            Integer => value.split('.').next()?.parse::<i32>().ok().map(|number| number.to_string()),
            Mood => ["sad", "ok", "happy"].contains(&value).then(|| value.to_owned()),
            Routine(arguments) => {
                value.strip_prefix('f').map(|_| format!("{}{arguments}", value.trim_end_matches("()")))
            }
        }
    }

    /// Whether PostgreSQL writes all rows anew: not where the stored bytes are the new type's
    /// already.
    pub fn rewrites(self, to: Type) -> bool {
        let kept = match (self.known().family, to.known().family) {
            _ if self == to => true,
            (Text(_), Text(None)) => true,
            (Text(Some(from)), Text(Some(to))) => from <= to,
            (Numeric(_), Numeric(None)) => true,
            (Numeric(Some(from)), Numeric(Some(to))) => from.0 <= to.0 && from.1 == to.1,
            (Routine(_), Routine(_)) => true,
            _ => false,
        };
        !kept
    }
}

fn scaled(number: i64, scale: i32) -> String {
    let decimals = "5".repeat(usize::try_from(scale).unwrap_or(0));
    if decimals.is_empty() { number.to_string() } else { format!("{number}.{decimals}") }
}

/// More decimals are zeros; fewer are cut off, which rounding would not do: no matter, it is
/// another value.
fn rescaled(value: &str, scale: i32) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let (number, decimals) = value.split_once('.').unwrap_or((value, ""));
    format!("{number}.{decimals:0<scale$.scale$}")
}

/// The text of a value of the mirror's type `from` when its column becomes one of type `to`, as the
/// mirror's server casts it.
pub fn cast_here(from: &str, to: &str, value: &str) -> String {
    let place = |name: &str| TYPES.iter().position(|known| known.formatted == name);
    match (place(from), place(to)) {
        (Some(from), Some(to)) => Type(from).cast(Type(to), value).expect("a plan without a cast that fails"),
        _ => value.to_owned(),
    }
}
