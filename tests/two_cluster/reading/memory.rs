//! The AI memory: each new invoice is told once, as it stands where its source transaction ends.

use super::LIMIT;
use crate::dying::kill9;
use crate::harness::{Pair, eventually};

const ODOO: &str = "CREATE TABLE res_partner (id int PRIMARY KEY, name varchar);
    CREATE TABLE account_move (id int PRIMARY KEY, name varchar, move_type varchar NOT NULL, state varchar, partner_id int, amount_total numeric, note text);
    INSERT INTO res_partner VALUES (1, 'Deco Addict');
    INSERT INTO account_move VALUES (1, 'INV/1', 'out_invoice', 'posted', 1, 10.00)";

/// The user's own: its ids have defaults, rows are hidden from everybody, and a trigger hangs
/// there.
const THEIRS: &str = "CREATE SCHEMA ipai_memory;
    CREATE TABLE ipai_memory.sessions (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), agent_id text NOT NULL, source text, started_at timestamptz DEFAULT now(),
        finished_at timestamptz, topic text, raw_tokens_est int, notes text, metadata jsonb);
    CREATE TABLE ipai_memory.chunks (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), session_id uuid NOT NULL REFERENCES ipai_memory.sessions, topic text, content text NOT NULL,
        importance smallint, created_at timestamptz DEFAULT now(), metadata jsonb, embedding float4[]);
    ALTER TABLE ipai_memory.sessions ENABLE ROW LEVEL SECURITY; ALTER TABLE ipai_memory.chunks ENABLE ROW LEVEL SECURITY;
    CREATE TABLE public.embed (chunk uuid);
    CREATE FUNCTION public.queue() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO public.embed VALUES (NEW.id); RETURN NEW; END $$;
    CREATE TRIGGER queue AFTER INSERT ON ipai_memory.chunks FOR EACH ROW EXECUTE FUNCTION public.queue()";

/// With pgvector's type where this server has it, as the user's does.
fn make_theirs(pair: &Pair) {
    let vector = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'";
    if pair.mirror_value(vector) == "0" {
        pair.on_mirror(THEIRS);
    } else {
        pair.on_mirror("CREATE EXTENSION vector");
        pair.on_mirror(&THEIRS.replace("embedding float4[]", "embedding vector(3)"));
        pair.on_mirror("CREATE INDEX ON ipai_memory.chunks USING hnsw (embedding vector_l2_ops)");
    }
}

fn told(pair: &Pair) -> Vec<String> {
    let query = "SELECT content FROM ipai_memory.chunks WHERE topic = 'invoice-created' AND importance = 4 ORDER BY (metadata ->> 'invoice_id')::int";
    pair.mirror.rows("mirror", query).into_iter().flatten().flatten().collect()
}

/// What the stream brings at once, because the table was locked here meanwhile.
fn at_once(pair: &Pair, statements: &[&str]) {
    let mut locker = pair.mirror.connect("mirror");
    locker.batch_execute("BEGIN; LOCK TABLE odoo_mirror.account_move IN SHARE MODE").expect("it is up");
    for statement in statements {
        pair.on_source(statement);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    locker.batch_execute("COMMIT").expect("it is up");
    pair.caught_up();
}

#[test]
fn each_new_invoice_is_told_once_as_it_stands_where_its_transaction_ends() {
    let pair = Pair::mirroring(ODOO);
    pair.on_mirror("SELECT odoo_mirror.enable_ai_memory(create_schema => true)");
    at_once(&pair, &[
        "BEGIN; INSERT INTO res_partner VALUES (2, 'Ümit & Söhne'); INSERT INTO account_move VALUES (2, '/', 'out_invoice', 'draft', 2, 0);
         UPDATE account_move SET name = 'INV/2', amount_total = 12.50, state = 'posted' WHERE id = 2; COMMIT",
        "UPDATE account_move SET name = 'later', amount_total = 99 WHERE id = 2",
        "INSERT INTO account_move VALUES (3, 'BILL/3', 'in_invoice', 'posted', 1, 7)",
        "INSERT INTO account_move VALUES (4, NULL, 'out_invoice', 'draft', NULL, NULL)",
        "INSERT INTO account_move VALUES (5, 'RINV/5', 'out_refund', 'posted', 1, 7), (6, 'MISC', 'entry', 'posted', 1, 7)",
        "BEGIN; INSERT INTO account_move VALUES (7, 'never', 'out_invoice', 'draft', 1, 1); DELETE FROM account_move WHERE id = 7; COMMIT",
        "UPDATE account_move SET note = 'changed' WHERE id = 1",
    ]);
    pair.assert_all_equal();
    assert_eq!(
        told(&pair),
        [
            "New customer invoice: INV/2 for Ümit & Söhne (Amount: 12.50)",
            "New vendor bill: BILL/3 for Deco Addict (Amount: 7)",
            "New customer invoice: / for unknown partner (Amount: 0)",
        ]
    );
    let sessions = "SELECT count(*) FROM ipai_memory.sessions WHERE agent_id = 'odoo-sync' AND source = 'odoo-mirror-trigger' AND topic = 'invoice-sync'";
    assert_eq!(pair.mirror_value(sessions), "1", "one for five minutes");
    pair.on_mirror("UPDATE ipai_memory.sessions SET started_at = now() - interval '6 minutes'");
    pair.on_source("INSERT INTO account_move VALUES (8, 'INV/8', 'out_invoice', 'posted', 1, 8)");
    pair.caught_up();
    assert_eq!(pair.mirror_value(sessions), "2");
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.status() -> 'ai_memory' ->> 'told'"), "4");
    pair.on_mirror("SELECT odoo_mirror.disable_ai_memory()");
    pair.on_source("INSERT INTO account_move VALUES (9, 'INV/9', 'out_invoice', 'posted', 1, 8)");
    pair.caught_up();
    assert_eq!(told(&pair).len(), 4);
    pair.on_mirror("SELECT odoo_mirror.enable_ai_memory()");
    pair.on_mirror("DROP EXTENSION odoo_mirror");
    assert_eq!(
        pair.mirror_value("SELECT count(*) FROM odoo_mirror.account_move"),
        pair.source_value("SELECT count(*) FROM account_move")
    );
}

#[test]
fn no_copy_no_resync_no_update_and_nobodys_own_insert_is_told() {
    let pair = Pair::start();
    pair.on_mirror("SELECT odoo_mirror.enable_ai_memory(create_schema => true)");
    pair.on_source(ODOO);
    pair.publish_all();
    pair.configure_and_start();
    pair.wait_ready(LIMIT);
    eventually("the trigger hangs", LIMIT, || {
        (pair.mirror_value(
            "SELECT count(*) FROM pg_trigger WHERE tgname = 'invoice_to_memory' AND tgenabled = 'A'",
        ) == "1")
            .then_some(())
    });
    pair.on_source("INSERT INTO account_move SELECT n, 'INV/' || n, 'entry', 'posted', 1, n FROM generate_series(10, 60) n");
    pair.caught_up();
    // Here it looks as if they were new: they are brought by a comparison, and by an update that
    // has to insert.
    pair.on_source("UPDATE account_move SET move_type = 'out_invoice'");
    pair.caught_up();
    pair.on_mirror("DELETE FROM odoo_mirror.account_move WHERE id > 20");
    pair.on_source("UPDATE account_move SET state = 'draft' WHERE id = 50");
    pair.caught_up();
    pair.wait_ready(LIMIT);
    pair.on_mirror("DELETE FROM odoo_mirror.account_move WHERE id > 5; SELECT odoo_mirror.resync()");
    pair.on_mirror("INSERT INTO odoo_mirror.account_move VALUES (1000, 'mine', 'out_invoice')");
    pair.on_mirror("SELECT odoo_mirror_internal.remember(1)");
    eventually("all is compared", LIMIT, || {
        (pair.mirror_value("SELECT count(*) FROM odoo_mirror.jobs() WHERE state = 'done'") == "1")
            .then_some(())
    });
    pair.wait_ready(LIMIT);
    pair.assert_all_equal();
    assert_eq!(told(&pair), Vec::<String>::new());
    pair.on_source("INSERT INTO account_move VALUES (2000, 'INV/2000', 'out_invoice', 'posted', 1, 8)");
    pair.caught_up();
    assert_eq!(told(&pair).len(), 1, "and a new one is");
}

#[test]
fn a_memory_that_fails_is_counted_and_shown_while_the_mirror_goes_on() {
    let pair = Pair::mirroring(ODOO);
    make_theirs(&pair);
    pair.on_mirror("SELECT odoo_mirror.enable_ai_memory()");
    pair.on_source("INSERT INTO account_move VALUES (2, 'INV/2', 'out_invoice', 'posted', 1, 8)");
    pair.caught_up();
    assert_eq!(told(&pair).len(), 1);
    assert_eq!(pair.mirror_value("SELECT count(*) FROM public.embed"), "1", "their trigger fired");
    pair.on_mirror("ALTER TABLE ipai_memory.chunks ADD CHECK (content NOT LIKE '%INV/3%')");
    pair.on_source("INSERT INTO account_move VALUES (3, 'INV/3', 'out_invoice', 'posted', 1, 8); INSERT INTO account_move VALUES (4, 'INV/4', 'out_invoice', 'posted', 1, 8)");
    pair.caught_up();
    pair.assert_all_equal();
    assert_eq!(told(&pair).len(), 2);
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.status() -> 'ai_memory' ->> 'failed'"), "1");
    assert!(
        pair.mirror_value("SELECT odoo_mirror.status() -> 'ai_memory' ->> 'last_error'")
            .contains("chunks_content_check")
    );
    pair.on_mirror("DROP SCHEMA ipai_memory CASCADE");
    pair.on_source("INSERT INTO account_move VALUES (5, 'INV/5', 'out_invoice', 'posted', 1, 8)");
    pair.caught_up();
    pair.assert_all_equal();
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.status() -> 'ai_memory' ->> 'failed'"), "2");
    assert_eq!(pair.mirror_value("SELECT odoo_mirror.status() ->> 'state'"), "streaming");
}

#[test]
fn no_invoice_is_told_twice_or_never_while_the_worker_is_killed() {
    let pair = Pair::mirroring(ODOO);
    pair.on_mirror("SELECT odoo_mirror.enable_ai_memory(create_schema => true)");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 100..400 {
                pair.on_source(&format!("BEGIN; INSERT INTO account_move VALUES ({n}, '/', 'out_invoice', 'draft', 1, 1); UPDATE account_move SET name = 'INV/{n}' WHERE id = {n}; COMMIT"));
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        });
        for _ in 0..4 {
            std::thread::sleep(std::time::Duration::from_millis(600));
            kill9(&pair.worker_pid().to_string());
        }
        writer.join().expect("the writer ends");
    });
    pair.assert_all_equal();
    let wanted: Vec<String> =
        (100..400).map(|n| format!("New customer invoice: INV/{n} for Deco Addict (Amount: 1)")).collect();
    assert_eq!(told(&pair), wanted);
}
