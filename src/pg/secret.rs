//! Where the source's password comes from: a passfile or an environment variable that a superuser named, or Vault.

use std::os::unix::fs::PermissionsExt;

use super::{guc, registry::Settings, sql};
use crate::config::{SourceConfig, passfile};
use crate::error::Error;
use crate::source::connect::Password;

/// The password for `config`, or None when nothing names one. In a transaction: Vault is read with the rights of
/// the role that called configure().
pub fn password(settings: &Settings, config: &SourceConfig) -> Result<Option<Password>, Error> {
    if let Some(secret) = &settings.password_secret {
        return vault(secret, &settings.configured_by).map(Some);
    }
    if let Some(variable) = guc::text(&guc::PASSWORD_ENV) {
        let value = std::env::var(&variable).map_err(|_| {
            Error::retry_slowly(format!("the server has no environment variable {variable}"))
                .hint("Set it where the server is started, or reset odoo_mirror.password_env.")
        })?;
        return Ok(Some(Password::new(value)));
    }
    match guc::text(&guc::PASSFILE) {
        Some(path) => from_passfile(&path, config),
        None => Ok(None),
    }
}

fn from_passfile(path: &str, config: &SourceConfig) -> Result<Option<Password>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::retry_slowly(format!("the passfile named by odoo_mirror.passfile can't be read: {error}"))
            .hint("It must be a file that the server's user can read, with permissions 0600.")
    };
    let permissions = std::fs::metadata(path).map_err(unreadable)?.permissions();
    if permissions.mode() & 0o077 != 0 {
        return Err(Error::retry_slowly("the passfile named by odoo_mirror.passfile is readable by others")
            .hint(format!("Run: chmod 0600 {path}")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let found = config
        .hosts
        .iter()
        .find_map(|host| passfile::password_for(&text, &host.name, host.port, &config.dbname, &config.user));
    Ok(found.map(Password::new))
}

fn vault(secret: &str, role: &str) -> Result<Password, Error> {
    let there = sql::value("SELECT pg_catalog.to_regclass('vault.decrypted_secrets')::text", &[])?;
    if there.is_none() {
        return Err(Error::retry_slowly("password_secret names a secret, but this database has no Vault")
            .hint("Install the vault extension, or call configure() without password_secret and set odoo_mirror.passfile."));
    }
    let as_role = super::owner::AsRole::switch(role)?;
    let found = sql::value(
        "SELECT decrypted_secret FROM vault.decrypted_secrets WHERE name = $1 OR id::text = $1 LIMIT 1",
        &[Some(secret)],
    );
    drop(as_role);
    match found {
        Ok(Some(value)) => Ok(Password::new(value)),
        Ok(None) => Err(Error::retry_slowly(format!("Vault has no secret named \"{secret}\""))
            .hint(format!("SELECT vault.create_secret('the password', '{secret}');"))),
        Err(error) => Err(error.while_doing("reading the password from Vault")),
    }
}
