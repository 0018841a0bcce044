//! The queries by which both sides of a comparison are asked.

use odoo_mirror::mirror::proof::{Limits, Piece, Side, Tiling, sides};

use super::*;

fn keys(keys: &[&[&str]]) -> Piece {
    Piece::Keys(keys.iter().map(|key| key.iter().map(|value| (*value).to_owned()).collect()).collect())
}

fn range(lo: Option<&str>, hi: Option<&str>) -> Piece {
    let key = |value: Option<&str>| value.map(|value| vec![value.to_owned()]);
    Piece::Range { lo: key(lo), hi: key(hi) }
}

/// How the invoices are cut, and how the source is asked.
fn asked() -> (Tiling, Side) {
    let table = account_move();
    let shape = shape_of(&table);
    (Tiling::of(&table, &shape), sides(&table, &shape).0)
}

/// Every query of a side for a piece.
fn queries(tiling: &Tiling, side: &Side, piece: &Piece) -> Vec<String> {
    let condition = tiling.condition(piece, side);
    let limits = Limits { rows: 10, bytes: 1_000 };
    let mut queries = vec![
        side.hash_query(&condition),
        side.rows_query(&condition),
        side.fetch_query(&condition),
        side.sizes_query(&[vec!["1".to_owned()]]),
    ];
    if let (Tiling::Ranges { order }, Piece::Range { lo, hi }) = (tiling, piece) {
        queries.push(side.cut_query(order, (lo, hi), limits));
    }
    queries
}

#[test]
fn the_source_is_asked_by_the_publications_filter_in_each_query_and_the_mirror_never() {
    let mut table = account_move();
    table.row_filter = Some("name <> 'x'".into());
    let shape = shape_of(&table);
    let tiling = Tiling::of(&table, &shape);
    let (there, here) = sides(&table, &shape);
    for piece in [range(Some("1"), Some("9")), range(None, None), keys(&[&["1"]])] {
        for query in queries(&tiling, &there, &piece) {
            assert!(query.contains("AND (name <> 'x')"), "{query}");
            assert!(query.contains("FROM ONLY \"public\".\"account_move\""), "{query}");
        }
        for query in queries(&tiling, &here, &piece) {
            assert!(!query.contains("name <> 'x'"), "{query}");
            assert!(query.contains("odoo_mirror.\"account_move\""), "{query}");
        }
    }
    table.row_filter = None;
    let (there, _) = sides(&table, &shape);
    assert!(queries(&tiling, &there, &range(None, None)).iter().all(|query| !query.contains("<> 'x'")));
}

#[test]
fn a_partitioned_tables_leaves_are_asked_and_a_plain_tables_children_are_not() {
    let plain = account_move();
    let partitioned = SourceTable { kind: 'p', ..account_move() };
    let shape = shape_of(&plain);
    assert_eq!(sides(&plain, &shape).0.from, "ONLY \"public\".\"account_move\"");
    assert_eq!(sides(&partitioned, &shape).0.from, "\"public\".\"account_move\"");
}

#[test]
fn no_keys_are_no_rows_and_all_keys_are_their_rows() {
    let (tiling, there) = asked();
    assert_eq!(tiling.condition(&keys(&[]), &there), "false");
    assert_eq!(tiling.condition(&keys(&[&["1"], &["it's"]]), &there), "(\"id\") IN (('1'), ('it''s'))");
    assert_eq!(tiling.condition(&Piece::Whole, &there), "true");
}

/// Two neighbours share a bound: the one has it, the other doesn't.
#[test]
fn a_range_has_its_lower_bound_and_not_its_upper_one() {
    let (tiling, there) = asked();
    let condition = |lo, hi| tiling.condition(&range(lo, hi), &there);
    let (from, to) = (condition(Some("5"), None), condition(None, Some("5")));
    assert!(from.contains(">=") && !from.contains('<'), "{from}");
    assert!(to.contains('<') && !to.contains("<=") && !to.contains('>'), "{to}");
    assert_eq!(condition(Some("5"), Some("5")), format!("{from} AND {to}"));
    assert_eq!(condition(None, None), "true");
    assert_eq!(tiling.integers(&range(Some("5"), Some("9"))), (Some(5), Some(9)));
    assert_eq!(tiling.integers(&keys(&[&["5"]])), (None, None));
}

#[test]
fn of_a_key_of_several_columns_a_bounds_first_value_may_be_inside() {
    let mut table = account_move();
    table.primary_key = vec!["id".into(), "name".into()];
    let tiling = Tiling::of(&table, &shape_of(&table));
    let bound = |first: &str| Some(vec![first.to_owned(), "x".to_owned()]);
    let piece = Piece::Range { lo: bound("5"), hi: bound("9") };
    assert_eq!(tiling.integers(&piece), (Some(5), Some(10)));
}

/// A long text key has more rows than one piece may: it is cut like any other.
#[test]
fn a_table_by_a_text_key_is_cut_in_ranges_too_and_one_without_a_key_is_one_piece() {
    let mut table = account_move();
    table.primary_key = vec!["name".into()];
    let shape = shape_of(&table);
    let by_text = Tiling::of(&table, &shape);
    assert!(by_text.scans(), "no index has the order that both sides share");
    assert!(matches!(by_text, Tiling::Ranges { order } if order.len() == 1));
    let plain = account_move();
    assert!(!Tiling::of(&plain, &shape_of(&plain)).scans());
    table.primary_key = Vec::new();
    table.replica_identity = 'f';
    assert_eq!(Tiling::of(&table, &shape_of(&table)), Tiling::Whole);
}

#[test]
fn both_sides_hash_the_text_of_all_columns_under_two_seeds_and_name_the_key() {
    let table = account_move();
    let shape = shape_of(&table);
    let (there, here) = sides(&table, &shape);
    for side in [there, here] {
        let (sums, rows) = (side.hash_query("true"), side.rows_query("true"));
        for query in [&sums, &rows] {
            for part in [
                "hash_array_extended(r.t, 1)",
                "hash_array_extended(r.t, 2)",
                "ARRAY[ROW(\"id\", \"name\")::text COLLATE \"C\"] AS t",
            ] {
                assert!(query.contains(part), "{part}: {query}");
            }
        }
        assert!(rows.contains("r.k0") && rows.contains("\"id\" AS k0"), "{rows}");
        let sizes = side.sizes_query(&[vec!["1".to_owned()]]);
        assert!(sizes.contains(", \"id\" FROM"), "{sizes}");
        let recoding = Side { recodes: true, ..side };
        let query = recoding.hash_query("true");
        assert!(query.contains("convert_to(ROW(\"id\", \"name\")::text, 'UTF8')"), "{query}");
    }
}
