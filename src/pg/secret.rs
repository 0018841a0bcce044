//! Where the source's password comes from: Vault, or an environment variable that a superuser
//! named. A passfile, which only a superuser names either, is read by the connector, host by host.
//! Certificates may lie in Vault, too.

use super::{guc, progress::Settings, sql};
use crate::config::SourceConfig;
use crate::error::Error;
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

fn vault(secret: &str, role: &str) -> Result<String, Error> {
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
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Error::retry_slowly(format!("Vault has no secret named \"{secret}\""))
            .hint(format!("SELECT vault.create_secret('the password', '{secret}');"))),
        Err(error) => Err(error.while_doing("reading the password from Vault")),
    }
}
