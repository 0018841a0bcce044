//! The harness proves things only if it is right itself: these need no extension.

use crate::harness::{
    Cluster, Cut, Difference, Proxy, Rng, Samples, Shutdown, Side, differences, eventually,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_cluster_is_of_the_version_that_was_asked_for() {
    let cluster = Cluster::builder().conf("maintenance_work_mem", "7MB").start();
    assert_eq!(
        cluster.value("postgres", "SELECT current_setting('server_version_num')::int / 10000"),
        cluster.major().to_string()
    );
    assert_eq!(cluster.value("postgres", "SHOW maintenance_work_mem"), "7MB");
}

#[test]
fn two_clusters_live_side_by_side() {
    let (one, other) = (Cluster::builder().start(), Cluster::builder().start());
    one.sql("postgres", "CREATE TABLE only_here ()");
    assert_eq!(other.value("postgres", "SELECT to_regclass('only_here')"), "");
    assert_ne!(one.port(), other.port());
}

#[test]
fn what_was_committed_is_there_after_each_kind_of_end() {
    let cluster = Cluster::builder().start();
    cluster.sql("postgres", "CREATE TABLE t (n int)");
    cluster.sql("postgres", "INSERT INTO t VALUES (1)");
    cluster.stop(Shutdown::Fast);
    assert!(cluster.try_connect("postgres").is_err());
    cluster.start();
    cluster.sql("postgres", "INSERT INTO t VALUES (2)");
    cluster.stop(Shutdown::Immediate);
    cluster.start();
    cluster.sql("postgres", "INSERT INTO t VALUES (3)");
    let _session = cluster.connect("postgres");
    cluster.kill9_postmaster();
    cluster.start();
    assert_eq!(cluster.value("postgres", "SELECT string_agg(n::text, ',' ORDER BY n) FROM t"), "1,2,3");
}

#[test]
fn a_dropped_cluster_leaves_no_file() {
    let cluster = Cluster::builder().start();
    let data = cluster.data_directory();
    assert!(data.exists());
    drop(cluster);
    assert!(!data.exists());
}

#[test]
fn a_source_near_the_wrap_keeps_what_a_snapshot_sees_and_is_vacuumed_like_any_other() {
    let cluster = Cluster::builder().next_xid((1 << 32) - 1000).start();
    let spend = "DO $$ BEGIN FOR n IN 1..900 LOOP
        BEGIN UPDATE t SET n = t.n + 1 WHERE id = 1; EXCEPTION WHEN OTHERS THEN RAISE; END; END LOOP; END $$";
    cluster.sql("postgres", "CREATE TABLE t AS SELECT id, 0 AS n FROM generate_series(1, 2000) id");
    let sum = "SELECT concat(count(*), ' ', sum(n)) FROM t";
    let mut session = cluster.connect("postgres");
    session.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").expect("the server is up");
    let mut seen = || session.query_one(sum, &[]).expect("it can be read").get::<_, String>(0);
    assert_eq!(seen(), "2000 0");
    for _ in 0..3 {
        for statement in ["UPDATE t SET n = n + 1", "VACUUM t", spend] {
            cluster.sql("postgres", statement);
            assert_eq!(seen(), "2000 0", "after {statement}");
        }
    }
    let wrapped = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > (1::bigint << 32) + 800";
    session.batch_execute("COMMIT").expect("the server is up");
    assert_eq!(cluster.value("postgres", wrapped), "t");
    for statement in ["VACUUM", "VACUUM FREEZE", "VACUUM FULL"] {
        cluster.sql("postgres", statement);
        assert_eq!(cluster.value("postgres", sum), "2000 8700", "after {statement}");
    }
}

#[test]
#[should_panic(expected = "left something open")]
fn a_server_that_left_something_open_fails_its_test() {
    let cluster = Cluster::builder().start();
    cluster.sql("postgres", "DO $$ BEGIN RAISE WARNING 'a note about nothing of the kind'; END $$");
    assert_eq!(cluster.left_open(), Vec::<String>::new());
    cluster.sql(
        "postgres",
        "DO $$ BEGIN RAISE WARNING 'relcache reference leak: relation \"t\" not closed'; END $$",
    );
}

#[test]
fn a_failing_statement_is_an_error_with_the_servers_words() {
    let cluster = Cluster::builder().start();
    let error = cluster.try_sql("postgres", "SELECT 1/0").expect_err("division by zero");
    assert_eq!(error.as_db_error().map(|db| db.code().code().to_owned()), Some("22012".to_owned()));
}

#[test]
fn the_comparison_finds_each_kind_of_difference() {
    let cluster = Cluster::builder().start();
    cluster.sql(
        "postgres",
        "CREATE SCHEMA a; CREATE SCHEMA b;
         CREATE TABLE a.t (x int, y text, id int PRIMARY KEY, access_token text);
         CREATE TABLE b.t (id int PRIMARY KEY, y text, x int);
         INSERT INTO a.t SELECT n, 'row ' || n, n FROM generate_series(1, 20) n;
         INSERT INTO b.t SELECT id, y, x FROM a.t",
    );
    let side = |schema| Side { cluster: &cluster, database: "postgres", schema };
    assert_eq!(differences(side("a"), side("b"), "t", &[]), []);

    cluster.sql(
        "postgres",
        "DELETE FROM b.t WHERE id = 3; INSERT INTO b.t (id) VALUES (99);
         UPDATE b.t SET y = NULL WHERE id = 10; UPDATE b.t SET y = 'row 12 ' WHERE id = 12",
    );
    let key = |id: &str| vec![Some(id.to_owned())];
    let text = |text: &str| Some(text.to_owned());
    let value = |id, source, mirror| Difference::Value { key: key(id), column: "y".into(), source, mirror };
    assert_eq!(
        differences(side("a"), side("b"), "t", &[]),
        [
            value("10", text("row 10"), None),
            value("12", text("row 12"), text("row 12 ")),
            Difference::Missing { key: key("3") },
            Difference::Extra { key: key("99") },
        ]
    );
}

#[test]
fn rows_without_a_key_are_compared_as_often_as_they_occur() {
    let cluster = Cluster::builder().start();
    cluster.sql(
        "postgres",
        "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (n int, m int); CREATE TABLE b.t (n int, m int);
         INSERT INTO a.t VALUES (1, NULL), (1, NULL), (2, 2); INSERT INTO b.t VALUES (2, 2), (1, NULL), (1, NULL)",
    );
    let side = |schema| Side { cluster: &cluster, database: "postgres", schema };
    assert_eq!(differences(side("a"), side("b"), "t", &[]), []);
    cluster.sql("postgres", "INSERT INTO b.t VALUES (2, 2)");
    let two = Some("2".to_owned());
    assert_eq!(
        differences(side("a"), side("b"), "t", &[]),
        [Difference::Extra { key: vec![two.clone(), two] }]
    );
}

#[test]
#[should_panic(expected = "lacks columns [\"y\"]")]
fn a_column_that_the_mirror_lacks_is_no_equality() {
    let cluster = Cluster::builder().start();
    cluster.sql(
        "postgres",
        "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (x int, y int); CREATE TABLE b.t (x int)",
    );
    let side = |schema| Side { cluster: &cluster, database: "postgres", schema };
    differences(side("a"), side("b"), "t", &[]);
}

/// A client and the server's end of its connection, joined by a proxy.
fn joined() -> (Proxy, TcpStream, TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let proxy = Proxy::start(listener.local_addr().expect("it is bound").port());
    let client = TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy listens");
    let (server, _) = listener.accept().expect("the proxy puts us through");
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(LIMIT)).expect("a socket of ours");
    }
    (proxy, client, server, listener)
}

#[test]
fn a_proxy_passes_both_ways_and_counts() {
    let (proxy, mut client, mut server, _listener) = joined();
    let mut answer = [0; 4];
    client.write_all(b"ping").expect("it is open");
    server.read_exact(&mut answer).expect("it is passed on");
    server.write_all(b"pong").expect("it is open");
    client.read_exact(&mut answer).expect("it is passed on");
    assert_eq!(&answer, b"pong");
    assert_eq!((proxy.accepted(), proxy.open()), (1, 1));
    // Counted once the socket has taken it: the reader may be faster than the count.
    eventually("8 bytes are counted", LIMIT, || (proxy.forwarded() == 8).then_some(()));
}

#[test]
fn a_reset_shows_as_a_reset_and_a_fin_as_an_end_of_file() {
    let (proxy, mut client, mut server, _listener) = joined();
    proxy.cut(Cut::Reset);
    assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    assert_eq!(server.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));

    let (proxy, mut client, mut server, _listener) = joined();
    proxy.cut(Cut::Fin);
    assert_eq!(client.read(&mut [0]).ok(), Some(0));
    assert_eq!(server.read(&mut [0]).ok(), Some(0));
}

#[test]
fn a_frozen_proxy_is_silent_without_an_end_and_delivers_when_thawed() {
    let (proxy, mut client, mut server, _listener) = joined();
    proxy.freeze();
    client.write_all(b"ping").expect("the socket takes it");
    server.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket of ours");
    let silence = server.read(&mut [0; 4]).map_err(|error| error.kind());
    assert!(matches!(silence, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{silence:?}");
    server.set_read_timeout(Some(LIMIT)).expect("a socket of ours");
    proxy.thaw();
    let mut answer = [0; 4];
    server.read_exact(&mut answer).expect("it is delivered");
    assert_eq!(&answer, b"ping");
}

#[test]
fn a_refusing_proxy_turns_away_new_connections_alone() {
    let (proxy, mut client, mut server, _listener) = joined();
    proxy.refuse();
    let refused = TcpStream::connect(("127.0.0.1", proxy.port())).map_err(|error| error.kind());
    assert!(matches!(refused, Err(ErrorKind::ConnectionRefused)), "{refused:?}");
    client.write_all(b"x").expect("it is open");
    server.read_exact(&mut [0]).expect("it is passed on");
    proxy.welcome();
    TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy listens again");
}

#[test]
fn sql_goes_through_a_proxy_until_it_is_cut() {
    let cluster = Cluster::builder().start();
    let proxy = Proxy::start(cluster.port());
    let conninfo = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", proxy.port());
    let mut session = postgres::Client::connect(&conninfo, postgres::NoTls).expect("through the proxy");
    session.batch_execute("SELECT 1").expect("it is open");
    proxy.cut(Cut::Reset);
    assert!(session.batch_execute("SELECT 1").is_err());
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    eventually("the server has noticed", LIMIT, || {
        (cluster.value("postgres", sessions) == "0").then_some(())
    });
}

#[test]
fn the_same_seed_gives_the_same_chances() {
    let draw = |mut rng: Rng| {
        (rng.number(0..1_000_000), rng.text(20), *rng.pick(&[1, 2, 3]), rng.fork().number(0..1_000_000))
    };
    assert_eq!(draw(Rng::seeded(7)), draw(Rng::seeded(7)));
}

#[test]
fn recorded_traffic_replays_over_the_sample_tables() {
    let Some(samples) = Samples::find() else { return };
    let cluster = Cluster::builder().start();
    samples.load(&cluster, "postgres", 18);
    assert_eq!(cluster.value("postgres", "SELECT count(*) FROM account_move"), "1214");
    let (settings, transactions) = samples.traffic("traffic-18");
    assert_eq!(transactions.len(), 1500);
    let mut session = cluster.connect("postgres");
    session.batch_execute(&settings).expect("settings");
    for transaction in &transactions[..100] {
        session
            .batch_execute(&transaction.sql)
            .unwrap_or_else(|error| panic!("tx {}: {error}", transaction.number));
    }
}
