//! The mirror's own database as its source.

use super::LIMIT;
use crate::harness::{Cluster, eventually};

#[test]
fn its_own_database_is_refused_by_whatever_address_and_another_of_the_same_server_is_mirrored() {
    let server = Cluster::builder().name("both").conf("wal_level", "logical").preload("mirror").start();
    for database in ["mirror", "odoo"] {
        server.sql("postgres", &format!("CREATE DATABASE {database}"));
        server.sql(database, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
        server.sql(database, "CREATE PUBLICATION odoo_pub_scout FOR ALL TABLES");
    }
    server.sql("mirror", "CREATE EXTENSION odoo_mirror");
    let socket = server.value("mirror", "SHOW unix_socket_directories");
    for host in ["127.0.0.1", "localhost", &socket] {
        server.sql("mirror", "SELECT odoo_mirror.stop()");
        let source = format!("host={host} port={} dbname=mirror user=postgres", server.port());
        server
            .sql("mirror", &format!("SELECT odoo_mirror.configure('{source}'); SELECT odoo_mirror.start()"));
        server.wait_status_within(LIMIT, "it is refused", |status| {
            status["state"] == "failed"
                && status["source"].as_str().is_some_and(|source| source.contains(host))
                && status["message"].as_str().is_some_and(|told| told.contains("this very database"))
        });
        assert_eq!(server.value("mirror", "SELECT count(*) FROM pg_replication_slots"), "0");
        assert_eq!(server.value("mirror", "SELECT count(*) FROM odoo_mirror.tables()"), "0");
    }
    let source = server.address("odoo");
    server.sql("mirror", &format!("SELECT odoo_mirror.configure('{source}')"));
    eventually("the other database is mirrored", LIMIT, || {
        let ready = "SELECT count(*) FROM odoo_mirror.tables() WHERE table_name = 't' AND state = 'ready'";
        (server.value("mirror", ready) == "1").then_some(())
    });
    server.sql("odoo", "INSERT INTO t VALUES (2)");
    eventually("it follows", LIMIT, || {
        (server.value("mirror", "SELECT count(*) FROM odoo_mirror.t") == "2").then_some(())
    });
    server.sql("mirror", "SELECT odoo_mirror.uninstall()");
}
