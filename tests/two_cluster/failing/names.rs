use super::{LIMIT, another_life, builder, fails_as};
use crate::harness::{Pair, eventually};

/// Whose rows are mirrored under the name that both tables would have here, and what stands in
/// tables() beside it.
#[track_caller]
fn has_the_name(pair: &Pair, whose: &str, others: &[&str]) {
    let entries = "SELECT coalesce(string_agg(table_name || ' ' || state, ', ' ORDER BY table_name), '') FROM odoo_mirror.tables() WHERE table_name <> 'beside'";
    let mut wanted = vec!["crm__lead ready".to_owned()];
    wanted.extend(others.iter().map(|other| format!("{other} failed")));
    wanted.sort();
    let mut last = String::new();
    let deadline = std::time::Instant::now() + LIMIT;
    while last != wanted.join(", ") {
        assert!(
            std::time::Instant::now() < deadline,
            "{last} and not {wanted:?}\n{}",
            pair.mirror_value(
                "SELECT string_agg(t::text, E'\n') FROM (SELECT table_name, state, reason FROM odoo_mirror.tables()) t"
            )
        );
        last = pair.mirror_value(entries);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    pair.on_source("INSERT INTO beside SELECT max(id) + 1 FROM beside");
    pair.caught_up();
    assert_eq!(pair.mirror_value("SELECT DISTINCT whose FROM odoo_mirror.crm__lead"), whose);
    pair.assert_equal("beside");
}

#[test]
fn who_is_mirrored_keeps_the_name_and_the_other_says_why_until_the_first_is_gone() {
    let pair = builder().start();
    let table = |name: &str, whose: &str| {
        format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, whose text); INSERT INTO {name} SELECT g, '{whose}' FROM generate_series(1, 9) g;"
        )
    };
    pair.on_source(
        "CREATE TABLE beside (id int PRIMARY KEY); INSERT INTO beside VALUES (1); CREATE SCHEMA crm",
    );
    pair.on_source(&table("public.crm__lead", "plain"));
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);

    // In the order of their schemas the newcomer comes first.
    pair.on_source(&table("crm.lead", "crm"));
    pair.on_source(
        "ALTER PUBLICATION odoo_pub_scout ADD TABLE crm.lead; INSERT INTO crm.lead VALUES (99, 'crm')",
    );
    fails_as(&pair, "crm.lead", "name_taken");
    let (reason, hint) = pair.wait_table("crm.lead", "failed");
    assert!(reason.contains("public.crm__lead") && hint.contains("public.crm__lead"), "{reason} {hint}");
    has_the_name(&pair, "plain", &["crm.lead"]);
    // Whatever is looked at anew: a life, a change of the one, a comparison, a new slot.
    another_life(&pair);
    pair.on_source("ALTER TABLE crm__lead ALTER whose TYPE varchar USING whose::varchar(9), ADD COLUMN n float8 DEFAULT random()");
    has_the_name(&pair, "plain", &["crm.lead"]);
    pair.on_mirror("SELECT odoo_mirror.resync()");
    pair.on_source("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots; SELECT pg_sleep(0.2)");
    eventually("the slot is dropped", LIMIT, || {
        pair.source.try_sql("odoo", "SELECT pg_drop_replication_slot('odoo_mirror')").ok()
    });
    pair.wait_status("a new slot was made", |status| {
        status["refusals"][0]["equal_at"].is_string() && status["state"] == "streaming"
    });
    has_the_name(&pair, "plain", &["crm.lead"]);

    // The first is called otherwise: the other is mirrored under the name, and keeps it when the
    // first wants it back.
    pair.on_source("ALTER TABLE crm__lead RENAME TO beside_it");
    eventually("both are ready", LIMIT, || {
        let ready = "SELECT count(*) FROM odoo_mirror.tables() WHERE state = 'ready' AND table_name IN ('beside_it', 'crm__lead')";
        (pair.mirror_value(ready) == "2").then_some(())
    });
    pair.assert_equal("beside_it");
    assert_eq!(pair.mirror_value("SELECT DISTINCT whose FROM odoo_mirror.crm__lead"), "crm");
    pair.on_source("ALTER TABLE beside_it RENAME TO crm__lead");
    has_the_name(&pair, "crm", &["beside_it", "public.crm__lead"]);
    another_life(&pair);
    has_the_name(&pair, "crm", &["beside_it", "public.crm__lead"]);
    pair.on_source("DROP TABLE crm.lead");
    has_the_name(&pair, "plain", &["beside_it"]);
}
