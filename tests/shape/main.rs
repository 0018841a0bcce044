//! What a mirror table is decided to look like, from catalogs written by hand.

mod ddl;
mod definition;
mod proof;

use odoo_mirror::mirror::ddl::create_statements;
use odoo_mirror::mirror::shape::{Claim, MirrorShape, RowIdentity, ShapeError};
use odoo_mirror::mirror::source_table::{
    LeftOut, Publishes, SourceColumn, SourceTable, SourceType, WhyLeftOut,
};
use odoo_mirror::mirror::table_state::Failure;
use odoo_mirror::mirror::typemap::{TypeHere, bytes_mean_equality, map_type};
use proptest::prelude::*;

fn built_in(name: &str, formatted: &str) -> SourceType {
    SourceType {
        oid: 1,
        modifier: -1,
        schema: "pg_catalog".into(),
        name: name.into(),
        kind: 'b',
        formatted: formatted.into(),
        extension: None,
        element: None,
        base: None,
        members: Vec::new(),
    }
}

fn user_type(name: &str, kind: char) -> SourceType {
    let formatted = format!("app.{name}");
    SourceType { oid: 90_000, schema: "app".into(), kind, formatted, ..built_in(name, "") }
}

fn array_of(element: SourceType) -> SourceType {
    let formatted = format!("{}[]", element.formatted);
    SourceType {
        name: format!("_{}", element.name),
        kind: 'b',
        formatted,
        element: Some(Box::new(element.clone())),
        ..element
    }
}

fn domain_over(base: SourceType) -> SourceType {
    SourceType { base: Some(Box::new(base)), ..user_type("mark", 'd') }
}

fn column(attnum: i16, name: &str, data_type: SourceType) -> SourceColumn {
    let deterministic = ["text", "varchar", "bpchar"].contains(&data_type.name.as_str()).then_some(true);
    SourceColumn {
        attnum,
        name: name.into(),
        data_type,
        not_null: false,
        deterministic,
        constant_default: None,
        stamp: String::new(),
    }
}

/// A table `public.account_move` with an integer primary key and a name.
fn account_move() -> SourceTable {
    SourceTable {
        oid: 16_400,
        schema: "public".into(),
        name: "account_move".into(),
        kind: 'r',
        replica_identity: 'd',
        columns: vec![
            column(1, "id", SourceType { oid: 23, ..built_in("int4", "integer") }),
            column(2, "name", SourceType { modifier: 9, ..built_in("varchar", "character varying(5)") }),
        ],
        left_out: Vec::new(),
        primary_key: vec!["id".into()],
        identity_key: Vec::new(),
        leaf_key: Vec::new(),
        key_index: 0,
        row_filter: None,
        estimated_rows: 0,
        bytes: 0,
        row_security: false,
        publication: "pub".into(),
        publishes: Publishes { insert: true, update: true, delete: true, truncate: true },
        via_root: false,
        last_attnum: 2,
        files: vec![(16_400, 16_400)],
        published_as: String::new(),
        published_in: String::new(),
        seen: String::new(),
    }
}

/// How this side prints a type: from its own name and the modifier, whatever the source printed.
fn printed(source: &SourceType) -> String {
    match (source.schema.as_str(), source.name.as_str(), source.modifier) {
        ("pg_catalog", "int4", _) => "integer".into(),
        ("pg_catalog", "char", _) => "\"char\"".into(),
        ("pg_catalog", "bool", _) => "boolean".into(),
        ("pg_catalog", "varchar", -1) => "character varying".into(),
        ("pg_catalog", "varchar", modifier) => format!("character varying({})", modifier - 4),
        ("pg_catalog", "numeric", 655_366) => "numeric(10,2)".into(),
        ("pg_catalog", "timestamptz", scale) => format!("timestamp({scale}) with time zone"),
        ("pg_catalog", name, _) => name.to_owned(),
        (_, name, -1) => format!("here.{name}"),
        (_, name, modifier) => format!("here.{name}({modifier})"),
    }
}

/// A destination with all built-in types, and with the types `app.*` in schema `here`.
fn everything_here(source: &SourceType) -> Option<TypeHere> {
    let kind = match source.name.as_str() {
        "mood" => 'e',
        "pair" => 'c',
        "mark" => 'd',
        "span" => 'r',
        _ => 'b',
    };
    Some(TypeHere {
        formatted: printed(source),
        kind,
        base: (kind == 'd').then(|| "numeric(10,2)".to_owned()),
        missing_grant: None,
    })
}

/// A destination that has nothing but built-in types.
fn nothing_here(source: &SourceType) -> Option<TypeHere> {
    everything_here(source).filter(|_| source.schema == "pg_catalog")
}

fn shape_of(table: &SourceTable) -> MirrorShape {
    MirrorShape::of(table, &nothing_here).expect("it can be mirrored")
}

#[test]
fn an_ordinary_table_keeps_its_name_its_columns_their_modifiers_and_its_key() {
    let shape = shape_of(&account_move());
    assert_eq!((shape.schema.as_str(), shape.name.as_str()), ("odoo_mirror", "account_move"));
    let columns: Vec<_> = shape
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.sql_type.as_str(), column.in_key))
        .collect();
    assert_eq!(columns, [("id", "integer", true), ("name", "character varying(5)", false)]);
    assert_eq!(shape.key, ["id"]);
    assert_eq!(shape.identity, RowIdentity::Key);
    assert_eq!(shape.note, None);
    assert!(shape.key_bytes_mean_equality && shape.binary_stream && shape.copy_binary);
}

#[test]
fn only_the_key_is_not_null() {
    let mut table = account_move();
    table.columns[1].not_null = true;
    let create = create_statements(&shape_of(&table));
    assert_eq!(
        create,
        ["CREATE TABLE \"odoo_mirror\".\"account_move\" (\n    \"id\" integer NOT NULL,\n    \
          \"name\" character varying(5),\n    PRIMARY KEY (\"id\")\n) USING heap WITH (fillfactor = 90)"]
    );
}

#[test]
fn types_map_as_the_table_says() {
    // (source type, its type when the destination has everything, binary, as text, when it has only
    // built-in types)
    let numeric = || SourceType { modifier: 655_366, ..built_in("numeric", "numeric(10,2)") };
    let vector = SourceType { modifier: 3, ..user_type("vector", 'b') };
    let cases = [
        (built_in("int4", "integer"), "integer", true, false, "integer"),
        (built_in("char", "\"char\""), "\"char\"", true, false, "\"char\""),
        (built_in("money", "money"), "money", true, false, "money"),
        (
            SourceType { modifier: 3, ..built_in("timestamptz", "timestamp(3) with time zone") },
            "timestamp(3) with time zone",
            true,
            false,
            "timestamp(3) with time zone",
        ),
        (array_of(numeric()), "numeric(10,2)[]", true, false, "numeric(10,2)[]"),
        (
            SourceType { kind: 'm', ..built_in("int4multirange", "int4multirange") },
            "int4multirange",
            true,
            false,
            "int4multirange",
        ),
        (built_in("int2vector", "int2vector"), "int2vector", false, false, "int2vector"),
        (built_in("oidvector", "oidvector"), "oidvector", false, false, "oidvector"),
        (built_in("regclass", "regclass"), "text", false, true, "text"),
        (array_of(built_in("regtype", "regtype")), "text", false, true, "text"),
        (built_in("aclitem", "aclitem"), "text", false, true, "text"),
        (built_in("pg_node_tree", "pg_node_tree"), "text", false, true, "text"),
        (SourceType { kind: 'c', ..built_in("pg_class", "pg_class") }, "text", false, true, "text"),
        (user_type("mood", 'e'), "here.mood", true, false, "text"),
        (array_of(user_type("mood", 'e')), "here.mood[]", false, false, "text"),
        (user_type("pair", 'c'), "here.pair", false, false, "text"),
        (user_type("span", 'r'), "here.span", false, false, "text"),
        (vector.clone(), "here.vector(3)", false, false, "text"),
        (array_of(vector), "here.vector(3)[]", false, false, "text"),
        (domain_over(numeric()), "here.mark", true, false, "numeric(10,2)"),
        (domain_over(built_in("int4", "integer")), "integer", true, false, "integer"),
        (array_of(domain_over(numeric())), "here.mark[]", false, false, "numeric(10,2)[]"),
        (domain_over(user_type("mood", 'e')), "here.mood", true, false, "text"),
        (domain_over(built_in("regproc", "regproc")), "text", false, true, "text"),
        (user_type("mood", 'c'), "text", false, true, "text"),
    ];
    for (source, with_everything, binary, as_text, with_nothing) in cases {
        let mapped = map_type(&source, &everything_here);
        assert_eq!(
            (mapped.sql_type.as_str(), mapped.binary, mapped.as_text),
            (with_everything, binary, as_text),
            "{}",
            source.formatted
        );
        assert_eq!(map_type(&source, &nothing_here).sql_type, with_nothing, "{}", source.formatted);
    }
}

#[test]
fn what_the_source_prints_never_becomes_a_part_of_a_statement() {
    let evil = "macaddr8); DROP SCHEMA odoo_mirror; CREATE TABLE x (c macaddr8";
    let forms = |of: SourceType| {
        [of.clone(), array_of(of.clone()), domain_over(of.clone()), array_of(domain_over(of))]
    };
    let mut table = account_move();
    for of in [built_in("macaddr8", evil), SourceType { formatted: evil.into(), ..user_type("mood", 'e') }] {
        for data_type in forms(of) {
            table.columns[1].data_type = SourceType { formatted: evil.into(), ..data_type };
            for resolver in [&everything_here as &dyn Fn(&SourceType) -> Option<TypeHere>, &nothing_here] {
                let shape = MirrorShape::of(&table, resolver).expect("it can be mirrored");
                assert!(!format!("{shape:?} {:?}", create_statements(&shape)).contains("DROP"), "{shape:?}");
            }
        }
    }
}

#[test]
fn a_type_that_the_mirror_may_not_use_fails_its_table_with_the_grant_that_is_missing() {
    let grant = "GRANT USAGE ON SCHEMA extensions TO odoo_mirror_owner";
    let mut table = account_move();
    let forbidden = |source: &SourceType| {
        let missing_grant = (source.name == "citext").then(|| grant.to_owned());
        everything_here(source).map(|here| TypeHere { missing_grant, ..here })
    };
    for data_type in
        [user_type("citext", 'b'), array_of(user_type("citext", 'b')), domain_over(user_type("citext", 'b'))]
    {
        table.columns[1].data_type = data_type;
        let error = MirrorShape::of(&table, &forbidden).expect_err("it may not be used");
        assert!(error.to_string().contains("column name of table public.account_move"), "{error}");
        assert!(error.hint().contains(grant), "{}", error.hint());
    }
}

#[test]
fn a_built_in_type_that_is_newer_than_this_server_becomes_text() {
    let mapped = map_type(&built_in("oid8", "oid8"), &|_| None);
    assert_eq!((mapped.sql_type.as_str(), mapped.binary, mapped.as_text), ("text", false, true));
}

#[test]
fn one_column_without_a_binary_form_turns_the_stream_to_text_but_a_copy_may_still_cast_it() {
    let mut table = account_move();
    table.columns.push(column(3, "relation", built_in("regclass", "regclass")));
    let shape = shape_of(&table);
    assert!(!shape.binary_stream && shape.copy_binary);

    table.columns[2].data_type = user_type("pair", 'c');
    let shape = MirrorShape::of(&table, &everything_here).expect("it can be mirrored");
    assert!(!shape.binary_stream && !shape.copy_binary);
}

#[test]
fn bytes_mean_equality_for_just_those_types() {
    for name in [
        "int2",
        "int4",
        "int8",
        "oid",
        "bool",
        "uuid",
        "date",
        "timestamp",
        "timestamptz",
        "time",
        "bytea",
        "char",
    ] {
        assert!(bytes_mean_equality(&built_in(name, name), None), "{name}");
    }
    for name in ["numeric", "float4", "float8", "interval", "bpchar", "timetz", "jsonb", "inet", "int4range"]
    {
        assert!(!bytes_mean_equality(&built_in(name, name), None), "{name}");
    }
    for name in ["text", "varchar", "name"] {
        assert!(bytes_mean_equality(&built_in(name, name), Some(true)), "{name}");
        assert!(!bytes_mean_equality(&built_in(name, name), Some(false)), "{name}");
    }
    assert!(bytes_mean_equality(&user_type("mood", 'e'), None));
    assert!(!bytes_mean_equality(&user_type("citext", 'b'), Some(true)));
    assert!(!bytes_mean_equality(&array_of(built_in("int4", "integer")), None));
    assert!(bytes_mean_equality(&domain_over(built_in("int4", "integer")), None));
    assert!(!bytes_mean_equality(&domain_over(built_in("numeric", "numeric")), None));
}

#[test]
fn one_loose_column_makes_the_whole_key_loose() {
    let mut table = account_move();
    table.columns.push(column(3, "amount", built_in("numeric", "numeric")));
    assert!(shape_of(&table).key_bytes_mean_equality);
    table.primary_key.push("amount".into());
    assert!(!shape_of(&table).key_bytes_mean_equality);
}

#[test]
fn the_key_is_what_identifies_rows_in_the_stream() {
    // (replica identity, primary key, identity index, key here, identity)
    type Case =
        (char, &'static [&'static str], &'static [&'static str], &'static [&'static str], RowIdentity);
    let cases: [Case; 8] = [
        ('d', &["id"], &[], &["id"], RowIdentity::Key),
        ('d', &[], &[], &[], RowIdentity::InsertsOnly),
        ('i', &["id"], &["name"], &["name"], RowIdentity::Key),
        ('i', &[], &["name", "id"], &["name", "id"], RowIdentity::Key),
        ('f', &["id"], &[], &["id"], RowIdentity::Key),
        ('f', &[], &[], &[], RowIdentity::WholeRow),
        ('n', &["id"], &[], &["id"], RowIdentity::InsertsOnly),
        ('d', &["id", "unpublished"], &[], &[], RowIdentity::InsertsOnly),
    ];
    for (replica_identity, primary, index, key, identity) in cases {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let table = SourceTable {
            replica_identity,
            primary_key: owned(primary),
            identity_key: owned(index),
            left_out: vec![LeftOut { attnum: 3, column: "unpublished".into(), why: WhyLeftOut::ColumnList }],
            ..account_move()
        };
        let shape = shape_of(&table);
        assert_eq!(
            (shape.key, shape.identity),
            (owned(key), identity),
            "{replica_identity} {primary:?} {index:?}"
        );
        assert_eq!(shape.note.is_some(), identity == RowIdentity::InsertsOnly);
    }
}

#[test]
fn the_note_on_a_table_without_an_identity_is_a_statement_to_run() {
    let keyless = SourceTable { primary_key: Vec::new(), ..account_move() };
    let note = shape_of(&keyless).note.expect("there is one");
    assert!(note.contains("ALTER TABLE \"public\".\"account_move\" ADD PRIMARY KEY"), "{note}");
    assert!(note.contains("ALTER TABLE \"public\".\"account_move\" REPLICA IDENTITY FULL;"), "{note}");
    let nothing = SourceTable { replica_identity: 'n', ..account_move() };
    let note = shape_of(&nothing).note.expect("there is one");
    assert!(note.contains("ALTER TABLE \"public\".\"account_move\" REPLICA IDENTITY DEFAULT;"), "{note}");
}

#[test]
fn excluding_a_key_column_by_configuration_is_refused() {
    let mut table = account_move();
    table.columns.remove(0);
    table.left_out.push(LeftOut { attnum: 1, column: "id".into(), why: WhyLeftOut::Configuration });
    let error = MirrorShape::of(&table, &nothing_here).expect_err("its rows could not be told apart");
    assert!(matches!(&error, ShapeError::KeyExcluded { column, .. } if column == "id"), "{error}");
}

#[test]
fn a_table_outside_public_carries_its_schema_in_its_name() {
    let table = SourceTable { schema: "sales".into(), ..account_move() };
    assert_eq!(shape_of(&table).name, "sales__account_move");
}

#[test]
fn names_that_cant_be_had_are_refused_with_a_hint() {
    let view = SourceTable { name: "v_invoice_summary".into(), ..account_move() };
    let long = SourceTable { schema: "s".repeat(40), name: "t".repeat(40), ..account_move() };
    let empty = SourceTable { columns: Vec::new(), primary_key: Vec::new(), ..account_move() };
    for table in [view, long, empty] {
        let error = MirrorShape::of(&table, &nothing_here).expect_err("refused");
        assert!(error.hint().ends_with('.'), "{error}");
    }
}

#[test]
fn a_name_may_have_63_bytes_and_no_more() {
    let named = |bytes: usize| SourceTable { name: "n".repeat(bytes), ..account_move() };
    assert_eq!(shape_of(&named(63)).name.len(), 63);
    assert!(MirrorShape::of(&named(64), &everything_here).is_err());
    // In bytes, not characters.
    let wide = SourceTable { name: "ж".repeat(32), ..account_move() };
    assert!(MirrorShape::of(&wide, &everything_here).is_err());
}

#[test]
fn of_two_tables_with_one_name_here_the_second_is_refused() {
    let tables = [
        SourceTable { name: "sales__account_move".into(), ..account_move() },
        SourceTable { schema: "sales".into(), ..account_move() },
        account_move(),
    ];
    let shapes = MirrorShape::of_all(&tables, &|_| Claim::Fit, &nothing_here);
    assert!(shapes[0].is_ok() && shapes[2].is_ok());
    assert!(
        matches!(&shapes[1], Err(ShapeError::SameName { other, .. }) if other == "public.sales__account_move")
    );
}

#[test]
fn the_better_claim_has_the_name_in_whatever_order_the_tables_come() {
    let claims = [Claim::Mirrored, Claim::Remade, Claim::Fit, Claim::Unfit];
    let plain = SourceTable { name: "a__b__c".into(), ..account_move() };
    let one = SourceTable { schema: "a".into(), name: "b__c".into(), ..account_move() };
    let other = SourceTable { schema: "a__b".into(), name: "c".into(), ..account_move() };
    for (best, worse) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let all = [plain.clone(), one.clone(), other.clone()];
            let tables = order.map(|place| all[place].clone());
            let claim = |table: &SourceTable| if table.schema == "a" { claims[best] } else { claims[worse] };
            let shapes = MirrorShape::of_all(&tables, &claim, &nothing_here);
            for (table, shape) in tables.iter().zip(shapes) {
                match shape {
                    Ok(_) => assert_eq!(table.schema, "a"),
                    Err(error) => {
                        assert!(matches!(&error, ShapeError::SameName { other, .. } if other == "a.b__c"));
                        assert_eq!(error.failure(), Failure::NameTaken);
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_kept_as_json_comes_back_the_same(estimated_rows in any::<i64>(), name in ".*") {
        let mut table = account_move();
        table.estimated_rows = estimated_rows;
        table.columns[1].name = name;
        table.columns[1].data_type = array_of(domain_over(built_in("numeric", "numeric")));
        table.left_out.push(LeftOut { attnum: 9, column: "secret".into(), why: WhyLeftOut::ColumnList });
        let shape = shape_of(&table);
        prop_assert_eq!(&serde_json::from_str::<SourceTable>(&serde_json::to_string(&table)?)?, &table);
        prop_assert_eq!(&serde_json::from_str::<MirrorShape>(&serde_json::to_string(&shape)?)?, &shape);
    }
}

#[test]
fn a_table_of_which_the_publication_streams_only_a_part_has_no_mirror_and_the_cure_is_named() {
    for (absent, publishes) in [
        ("update", Publishes { insert: true, update: false, delete: true, truncate: true }),
        ("truncate", Publishes { insert: true, update: true, delete: true, truncate: false }),
        ("insert, delete", Publishes { insert: false, update: true, delete: false, truncate: true }),
    ] {
        let table = SourceTable { publishes, ..account_move() };
        let error = MirrorShape::of(&table, &nothing_here).expect_err("it can't be exact");
        assert_eq!(
            error.to_string(),
            format!("publication \"pub\" doesn't publish {absent} of table public.account_move")
        );
        assert_eq!(
            error.hint(),
            "On the source: ALTER PUBLICATION \"pub\" SET (publish = 'insert, update, delete, truncate');"
        );
    }
}
