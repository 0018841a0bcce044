//! A cluster with the roles of Supabase's images.

use super::Cluster;

/// The bootstrap superuser there.
const ADMIN: &str = "supabase_admin";

impl Cluster {
    /// From here on the bootstrap superuser is supabase_admin, and postgres, as whom tests connect,
    /// is none: it owns `database`, and may make roles.
    #[track_caller]
    pub fn takes_supabases_roles(&self, database: &str) {
        let there = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{ADMIN}'");
        if self.value("postgres", &there) == "1" {
            // The test's world has it so already.
            self.as_admin(
                "postgres",
                &format!("ALTER ROLE postgres NOSUPERUSER; ALTER DATABASE {database} OWNER TO postgres; ALTER DATABASE postgres OWNER TO postgres"),
            );
            return;
        }
        self.sql("postgres", "CREATE ROLE midwife SUPERUSER LOGIN");
        let mut midwife = self.connect_as("midwife", "postgres");
        midwife
            .batch_execute(&format!("ALTER ROLE postgres RENAME TO {ADMIN}"))
            .expect("nobody is connected as it but idle workers");
        drop(midwife);
        self.as_admin(
            "postgres",
            &format!(
                "DROP ROLE midwife; CREATE ROLE postgres LOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS;
                 ALTER DATABASE {database} OWNER TO postgres; ALTER DATABASE postgres OWNER TO postgres"
            ),
        );
    }

    #[track_caller]
    pub fn as_admin(&self, database: &str, statements: &str) {
        let done = self.connect_as(ADMIN, database).batch_execute(statements);
        done.unwrap_or_else(|error| panic!("{statements}\n{}", super::explain(&error)));
    }
}
