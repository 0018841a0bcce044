//! What a real source says of its catalog, recorded and played again: so that the fuzzer begins
//! with what servers say. With ODOO_MIRROR_RECORD set the records become the fuzzer's seeds.

use std::fs;
use std::path::Path;

use odoo_mirror::source::catalog;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::Clusters;
use crate::{connector, fake, played};

/// What to do when the catalog is asked otherwise than it was.
const ANEW: &str = "fuzz/make-seeds.sh records it anew";

/// Passes everything on in both directions, and keeps what the server says in turns: each time the
/// client has spoken, another begins.
async fn recorded(listener: TcpListener, port: u16) -> Vec<Vec<u8>> {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut turns, mut client_spoke) = (Vec::<Vec<u8>>::new(), true);
    loop {
        let (mut said, mut answered) = ([0; 8_192], [0; 8_192]);
        tokio::select! {
            said_bytes = client.read(&mut said) => match said_bytes {
                Ok(0) | Err(_) => return turns,
                Ok(count) => {
                    client_spoke = true;
                    if server.write_all(&said[..count]).await.is_err() {
                        return turns;
                    }
                }
            },
            answer = server.read(&mut answered) => match answer {
                Ok(0) | Err(_) => return turns,
                Ok(count) => {
                    if std::mem::take(&mut client_spoke) {
                        turns.push(Vec::new());
                    }
                    turns.last_mut().unwrap().extend_from_slice(&answered[..count]);
                    client.write_all(&answered[..count]).await.unwrap();
                }
            },
        }
    }
}

#[tokio::test]
async fn what_a_source_said_of_its_catalog_is_read_the_same_when_it_is_played_again() {
    let clusters = Clusters::shared();
    clusters.sql("CREATE DATABASE recorded");
    let sql = |text: &str| clusters.sql_in("recorded", &format!("SET search_path = public; {text}"));
    sql("CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE DOMAIN percent AS int4 CHECK (VALUE BETWEEN 0 AND 100);
         CREATE TYPE pair AS (a mood[], b percent)");
    for (name, text) in [
        (
            "plain",
            "CREATE TABLE plain (id int4 PRIMARY KEY, name varchar(40) COLLATE \"C\", data jsonb, left_out text);
             ALTER TABLE plain ADD later numeric(9, 2) NOT NULL DEFAULT 1.5",
        ),
        (
            "types",
            "CREATE TABLE types (code text NOT NULL, one pair, many pair[], span int4range, moods mood[],
                                 made int4 GENERATED ALWAYS AS (1) STORED);
             CREATE UNIQUE INDEX by_code ON types (code);
             ALTER TABLE types REPLICA IDENTITY USING INDEX by_code",
        ),
        (
            "partitioned",
            "CREATE TABLE partitioned (id int4, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
             CREATE TABLE y26 PARTITION OF partitioned FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
             CREATE TABLE y27 PARTITION OF partitioned FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')",
        ),
        ("none", "SELECT"),
    ] {
        let table = if name == "none" { String::new() } else { format!("FOR TABLE {name}") };
        sql(&format!("{text}; CREATE PUBLICATION p {table} WITH (publish_via_partition_root)"));
        let (listener, _) = fake::listener().await;
        let at = listener.local_addr().unwrap().port();
        let config = format!("host=127.0.0.1 port={at} dbname=recorded user=postgres sslmode=disable");
        let client = async {
            let session = connector(&config, None).sql().await.unwrap();
            catalog::published_tables(&session, "p", &["left_out".to_owned()]).await.unwrap()
        };
        let (turns, tables) = tokio::join!(recorded(listener, clusters.port), client);
        assert_eq!(tables.len(), usize::from(name != "none"), "{name}");
        sql("DROP PUBLICATION p");

        // The greeting and the settings are the player's own.
        let script = played::script(0, &turns[2..]);
        let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/catalog").join(name);
        if std::env::var_os("ODOO_MIRROR_RECORD").is_some() {
            fs::write(&seed, &script).unwrap();
        }
        for script in [script, fs::read(&seed).unwrap()] {
            let again = tokio::task::spawn_blocking(move || played::catalog(&script)).await.unwrap();
            let names = |tables: &[odoo_mirror::mirror::source_table::SourceTable]| -> Vec<String> {
                tables.iter().map(|table| format!("{} {}", table.name, table.columns.len())).collect()
            };
            let again = again.unwrap().unwrap_or_else(|error| panic!("{name}: {error:?} ({ANEW})"));
            assert_eq!(names(&again), names(&tables), "{name} ({ANEW})");
        }
    }
}
