//! Where the source's password comes from: Vault, or an environment variable that a superuser
//! named. A passfile, which only a superuser names either, is read by the connector, host by host.
//! Certificates may lie in Vault, too.

use super::{guc, progress::Settings, sql, transaction};
use crate::config::SourceConfig;
use crate::error::Error;
use crate::mirror::quote::quote_literal;
use crate::source::connect::Password;

/// What the source is given as proof of us, and what we take as proof of it.
pub struct Secrets {
    /// The password that whoever called configure() keeps in Vault.
    pub password: Option<Password>,
    /// The server's own, from the environment.
    pub server_password: Option<Password>,
    /// The trusted certificates in PEM, where sslrootcert names a secret.
    pub certificates: Option<String>,
}

/// Reads them. In a transaction: Vault is read with the rights of the role that called configure().
pub fn read(settings: &Settings, config: &SourceConfig) -> Result<Secrets, Error> {
    let of_vault = |secret: &str| vault(secret, &settings.configured_by);
    let password = settings.password_secret.as_deref().map(of_vault).transpose()?.map(Password::new);
    let server_password = if password.is_none() { from_environment()? } else { None };
    let certificates = config.certificate_secret().map(of_vault).transpose()?;
    Ok(Secrets { password, server_password, certificates })
}

fn from_environment() -> Result<Option<Password>, Error> {
    let Some(variable) = guc::text(&guc::PASSWORD_ENV) else { return Ok(None) };
    let value = std::env::var(&variable).map_err(|_| {
        Error::retry_slowly(format!("the server has no environment variable {variable}"))
            .hint("Set it where the server is started, or reset odoo_mirror.password_env.")
    })?;
    Ok(Some(Password::new(value)))
}

/// Reads a secret with the rights of whoever called configure(), from Vault itself: anybody who may
/// make a schema could else make one of that name.
fn vault(secret: &str, role: &str) -> Result<String, Error> {
    let of_superusers = sql::value(
        "SELECT v.rolsuper AND s.rolsuper FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_roles v ON v.oid = c.relowner JOIN pg_catalog.pg_roles s ON s.oid = n.nspowner \
         JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid \
              AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' \
         JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'supabase_vault' \
         WHERE n.nspname = 'vault' AND c.relname = 'decrypted_secrets'",
        &[],
    )?;
    let cannot =
        |why: &str| Error::retry_slowly(format!("secret \"{secret}\" cannot be read from Vault: {why}"));
    // Whose the view is says what it runs.
    if of_superusers.as_deref() == Some("f") && super::owner::is_superuser(role) {
        return Err(cannot("a superuser called configure(), and Vault's view or schema is no superuser's")
            .hint("Call configure() as a role that may read vault.decrypted_secrets and is no superuser."));
    }
    if of_superusers.is_none() {
        return Err(cannot("this database has no Vault").hint(
            "CREATE EXTENSION supabase_vault; a relation vault.decrypted_secrets that is not that extension's is not read. \
             Or call configure() without a secret.",
        ));
    }
    let found = transaction::subtransaction(|| {
        let _as_role = super::owner::AsRole::switch(role)?;
        sql::value(
            "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = $1 OR id::text = $1 LIMIT 1",
            &[Some(secret)],
        )
    });
    match found {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Error::retry_slowly(format!("Vault has no secret named \"{secret}\""))
            .hint(format!("SELECT vault.create_secret('the password', {});", quote_literal(secret)))),
        Err(error) => {
            let hint = match error.sqlstate.as_deref() {
                None => error.hint.clone().unwrap_or_default(),
                Some("42501") => format!(
                    "It is read as role \"{role}\", which called configure(): grant that role what it takes to read \
                     vault.decrypted_secrets, or call configure() as a role that may."
                ),
                Some(_) => format!(
                    "Vault's root key may be another than the one that the secret was kept with. Bring that key back, or keep the password \
                     anew: SELECT vault.update_secret((SELECT id FROM vault.secrets WHERE name = {}), 'the password');",
                    quote_literal(secret)
                ),
            };
            Err(cannot(&error.message).hint(hint))
        }
    }
}
