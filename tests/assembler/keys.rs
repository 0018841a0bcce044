//! A Relation tells by its flags whether the table's key is what it was; where it doesn't, the
//! catalog is asked.

use std::sync::Arc;

use odoo_mirror::mirror::assembler::Assembler;
use odoo_mirror::mirror::replica_identity::Identity;
use odoo_mirror::mirror::stream_table::{Standing, StreamColumn, StreamTable};
use odoo_mirror::wire::{Lsn, Relation, RelationColumn, ReplicaIdentity, decode};

use super::drift::{begin, commit, feed, kind};
use super::sent::{Cell, Sent};
use super::tables::Form;

/// A table of columns a, b, c and d, with that key and that identity.
fn keyed(key: &[&str], identity: Identity) -> StreamTable {
    let columns = ["a", "b", "c", "d"].map(|name| StreamColumn {
        name: name.into(),
        type_oid: 25,
        type_modifier: -1,
        mirror_type: String::new(),
    });
    StreamTable {
        columns: columns.to_vec(),
        key: names(key),
        identity,
        ..StreamTable::clone(&kind().stream_table(Standing::Ready))
    }
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

/// What the source says of it: the identity, and what that flags.
fn flagging(replica_identity: ReplicaIdentity, flagged: &str) -> Relation {
    let column = |name: &str| RelationColumn {
        key: replica_identity == ReplicaIdentity::Full || flagged.contains(name),
        name: name.to_owned(),
        type_id: 25,
        type_modifier: -1,
    };
    let columns = ["a", "b", "c", "d"].map(column).to_vec();
    Relation { replica_identity, columns, ..kind().relation(Form::Plain) }
}

/// What becomes of the first change under a relation: it fits, it is asked about, it doesn't fit.
#[derive(Debug, PartialEq)]
enum First {
    Fits,
    Asks,
    Misfit,
}

/// `before`: the relation that was sent for the table as it is known.
fn first(table: &StreamTable, before: &Relation, relation: &Relation) -> First {
    let mut assembler = Assembler::new(vec![Arc::new(table.clone())], Lsn::ZERO, 10);
    let row = Sent::Insert { relation: kind().oid(), new: vec![Cell::Text("x".into()); 4] };
    let mut said = Vec::new();
    for (at, relation) in [before, relation].into_iter().enumerate() {
        let at = at as u64 + 1;
        assert!(
            feed(&mut assembler, &begin(at, 10)) && feed(&mut assembler, &Sent::Relation(relation.clone()))
        );
        let bytes = row.encode();
        said.push(match assembler.unfit(&decode(&bytes).unwrap()) {
            None => First::Fits,
            Some(unfit) if unfit.misfit => return First::Misfit,
            Some(unfit) => {
                assembler.stop_before(unfit);
                assembler.take();
                assembler.refit(vec![Arc::new(table.clone())]);
                assert!(assembler.unfit(&decode(&bytes).unwrap()).is_none(), "it is asked once");
                First::Asks
            }
        });
        assert!(
            feed(&mut assembler, &row) && feed(&mut assembler, &row) && feed(&mut assembler, &commit(at))
        );
    }
    said.pop().unwrap()
}

#[test]
fn a_relation_whose_flags_are_not_exactly_the_tables_does_not_fit_at_once() {
    use First::{Asks, Fits, Misfit};
    use ReplicaIdentity::{Default, Full, Index, Nothing};
    let columns = |of: &[&str]| Identity::Columns(names(of));
    // The key, its identity and what flags it; then what comes, and what becomes of that.
    #[allow(clippy::type_complexity)]
    let cases: &[(&[&str], Identity, ReplicaIdentity, &str, &[(ReplicaIdentity, &str, First)])] = &[
        (
            &["a"],
            columns(&["a"]),
            Default,
            "a",
            &[
                (Default, "a", Fits),
                (Default, "ab", Misfit),
                (Default, "b", Misfit),
                (Default, "", Misfit),
                (Index, "a", Fits),
                (Index, "ab", Misfit),
                (Index, "c", Misfit),
                (Nothing, "", Misfit),
                (Full, "", Misfit),
            ],
        ),
        (
            &["b", "a"],
            columns(&["b", "a"]),
            Default,
            "ab",
            &[
                (Default, "ab", Fits),
                (Default, "a", Misfit),
                (Default, "b", Misfit),
                (Default, "ac", Misfit),
                (Default, "abc", Misfit),
                (Default, "", Misfit),
                (Full, "", Misfit),
            ],
        ),
        (
            &["c"],
            columns(&["c"]),
            Index,
            "c",
            &[
                (Index, "c", Fits),
                (Index, "cd", Misfit),
                (Index, "d", Misfit),
                (Default, "a", Misfit),
                (Nothing, "", Misfit),
            ],
        ),
        // All columns are the key: the flags are those of FULL.
        (
            &["a", "b", "c", "d"],
            columns(&["a", "b", "c", "d"]),
            Default,
            "abcd",
            &[(Default, "abcd", Fits), (Default, "abc", Misfit), (Full, "", Misfit)],
        ),
        // Without a key, and inserts only.
        (
            &[],
            columns(&[]),
            Default,
            "",
            &[(Default, "", Fits), (Default, "a", Misfit), (Index, "b", Misfit), (Full, "", Misfit)],
        ),
        (
            &[],
            Identity::Full,
            Full,
            "",
            &[(Full, "", Fits), (Default, "a", Misfit), (Default, "", Misfit), (Nothing, "", Misfit)],
        ),
        // All are flagged, or none, whatever the key is by now.
        (
            &["a"],
            Identity::Full,
            Full,
            "",
            &[(Full, "", Asks), (Default, "a", Misfit), (Default, "", Misfit)],
        ),
        (
            &["a"],
            columns(&[]),
            Nothing,
            "",
            &[(Nothing, "", Asks), (Default, "a", Misfit), (Full, "", Misfit)],
        ),
        // A root, with a key of its own or with one of its partitions.
        (
            &["a"],
            Identity::Root(names(&["a"])),
            Default,
            "a",
            &[(Default, "a", Fits), (Default, "ab", Misfit), (Default, "", Asks), (Full, "", Misfit)],
        ),
        (
            &["a"],
            Identity::Root(Vec::new()),
            Default,
            "",
            &[(Default, "", Asks), (Default, "ab", Misfit), (Full, "", Misfit)],
        ),
    ];
    for (key, identity, before, flagged, then) in cases {
        let table = keyed(key, identity.clone());
        let before = flagging(*before, flagged);
        for (replica_identity, flagged, expected) in *then {
            let found = first(&table, &before, &flagging(*replica_identity, flagged));
            assert_eq!(&found, expected, "{key:?} {identity:?}, then {replica_identity:?} of {flagged}");
        }
    }
}
