//! What each key means, which are refused and why, and the rules that hold between them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{ChannelBinding, ConfigError, Host, RequireAuth, SourceConfig, SslMode, TargetSessionAttrs};

const KNOWN: [&str; 18] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "sslmode",
    "sslrootcert",
    "channel_binding",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "application_name",
    "passfile",
    "target_session_attrs",
    "require_auth",
];

/// So begins an sslrootcert that names a secret in Vault.
const SECRET: &str = "vault:";

const DEFAULT_PORT: u16 = 5432;

/// The configuration that these settings describe; as in libpq, the last one of a key counts, and
/// an empty value is none.
pub(super) fn config(pairs: Vec<(String, String)>) -> Result<SourceConfig, ConfigError> {
    let mut settings = Settings(HashMap::new());
    for (key, value) in pairs {
        check_key(&key)?;
        if value.contains('\0') {
            return Err(ConfigError::new(format!("the value of {key} holds a zero byte")));
        }
        settings.0.insert(key, value);
    }
    settings.0.retain(|_, value| !value.is_empty());

    let config = SourceConfig {
        hosts: settings.hosts()?,
        dbname: settings.required("dbname", "Name Odoo's database: dbname=….")?,
        user: settings.required("user", "Name the role that may read and replicate: user=….")?,
        sslmode: settings.sslmode()?,
        sslrootcert: settings.path("sslrootcert")?,
        channel_binding: settings.one_of(
            "channel_binding",
            &[
                ("prefer", ChannelBinding::Prefer),
                ("disable", ChannelBinding::Disable),
                ("require", ChannelBinding::Require),
            ],
        )?,
        require_auth: settings.require_auth()?,
        connect_timeout: settings.number("connect_timeout")?.map(seconds),
        keepalives: settings.number("keepalives")?.unwrap_or(1) != 0,
        keepalives_idle: settings.number("keepalives_idle")?.map(seconds),
        keepalives_interval: settings.number("keepalives_interval")?.map(seconds),
        keepalives_count: settings.number("keepalives_count")?,
        tcp_user_timeout: settings
            .number("tcp_user_timeout")?
            .map(|milliseconds| Duration::from_millis(milliseconds.into())),
        application_name: settings.text("application_name").unwrap_or_else(|| "odoo_mirror".to_owned()),
        passfile: settings.path("passfile")?,
        target_session_attrs: settings.target_session_attrs()?,
    };
    check_together(config)
}

fn check_key(key: &str) -> Result<(), ConfigError> {
    let refused = |why: &str, hint: &str| Err(ConfigError::new(why).hint(hint));
    match key {
        "password" => refused(
            "a password is never stored: give password_secret, a passfile, or an environment variable",
            "Keep the password in Vault (select vault.create_secret('…', 'odoo_password')) and call configure(…, \
             password_secret => 'odoo_password'), without a password in the connection string.",
        ),
        "sslcert" | "sslkey" | "sslpassword" => refused(
            &format!("{key} is not supported: client certificates can't be used yet"),
            "Let the role log in with scram-sha-256 in pg_hba.conf on the source.",
        ),
        "service" | "servicefile" => {
            refused(&format!("{key} is not supported"), "Write host, port, dbname and user themselves.")
        }
        key if KNOWN.contains(&key) => Ok(()),
        // What isn't shaped like a key may be a piece of a password: it isn't quoted.
        key => {
            let shaped = !key.is_empty()
                && key.len() <= 40
                && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let name = if shaped { format!(" \"{key}\"") } else { String::new() };
            Err(ConfigError::new(format!("unknown key{name} in the connection string"))
                .hint(format!("Known are {}.", KNOWN.join(", "))))
        }
    }
}

/// What no key can say alone.
fn check_together(config: SourceConfig) -> Result<SourceConfig, ConfigError> {
    let verifies = matches!(config.sslmode, SslMode::VerifyCa | SslMode::VerifyFull);
    if verifies && config.sslrootcert.is_none() {
        return Err(ConfigError::new(format!("sslmode={} needs sslrootcert", config.sslmode.as_str()))
            .hint("Give the path of the certificates to trust, in PEM: sslrootcert=/….pem."));
    }
    if config.channel_binding == ChannelBinding::Require && config.sslmode == SslMode::Disable {
        return Err(ConfigError::new("channel_binding=require can't be had with sslmode=disable")
            .hint("Use sslmode=require or stronger."));
    }
    Ok(config)
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

struct Settings(HashMap<String, String>);

impl Settings {
    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }

    fn required(&self, key: &str, hint: &str) -> Result<String, ConfigError> {
        self.text(key)
            .ok_or_else(|| ConfigError::new(format!("the connection string has no {key}")).hint(hint))
    }

    /// libpq takes negative numbers as zero.
    fn number(&self, key: &str) -> Result<Option<u32>, ConfigError> {
        let Some(text) = self.0.get(key) else { return Ok(None) };
        let number: i32 = text
            .trim()
            .parse()
            .map_err(|_| ConfigError::new(format!("the value of {key} is not a number")))?;
        Ok(Some(u32::try_from(number).unwrap_or(0)))
    }

    /// The server's working directory means nothing to whoever writes the string.
    fn path(&self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.text(key) {
            Some(path) if key == "sslrootcert" && path == "system" => {
                Err(ConfigError::new("sslrootcert=system is not supported")
                    .hint("Give the path of a file: on Debian /etc/ssl/certs/ca-certificates.crt."))
            }
            Some(path) if key == "sslrootcert" && path.starts_with(SECRET) => Ok(Some(path)),
            Some(path) if !path.starts_with('/') => {
                Err(ConfigError::new(format!("the value of {key} is not an absolute path")))
            }
            path => Ok(path),
        }
    }

    /// The first choice is the default.
    fn one_of<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let Some(text) = self.0.get(key) else { return Ok(choices[0].1) };
        choices.iter().find(|(word, _)| word == text).map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            ConfigError::new(format!("the value of {key} is not known"))
                .hint(format!("Use one of {}.", words.join(", ")))
        })
    }

    fn sslmode(&self) -> Result<SslMode, ConfigError> {
        if self.0.get("sslmode").is_some_and(|mode| mode == "allow") {
            return Err(ConfigError::new("sslmode=allow is not supported")
                .hint("Use prefer, which tries TLS first, or require."));
        }
        self.one_of(
            "sslmode",
            &[
                ("prefer", SslMode::Prefer),
                ("disable", SslMode::Disable),
                ("require", SslMode::Require),
                ("verify-ca", SslMode::VerifyCa),
                ("verify-full", SslMode::VerifyFull),
            ],
        )
    }

    /// Methods separated by commas, or, each with a `!`, those that are not to be used. As in
    /// libpq, the two are not mixed, and none is named twice.
    fn require_auth(&self) -> Result<RequireAuth, ConfigError> {
        let Some(list) = self.0.get("require_auth") else { return Ok(RequireAuth::default()) };
        let refused = |why: &str| {
            ConfigError::new(format!("the value of require_auth {why}"))
                .hint("Use scram-sha-256, md5, password and none, separated by commas, all or none of them with a \"!\".")
        };
        let words: Vec<&str> = list.split(',').map(str::trim).collect();
        let negated = words.iter().filter(|word| word.starts_with('!')).count();
        if negated != 0 && negated != words.len() {
            return Err(refused("mixes methods with and without \"!\""));
        }
        let named = negated == 0;
        let mut auth = RequireAuth { none: !named, password: !named, md5: !named, scram: !named };
        for word in words {
            let method = match word.trim_start_matches('!') {
                "none" => &mut auth.none,
                "password" => &mut auth.password,
                "md5" => &mut auth.md5,
                "scram-sha-256" => &mut auth.scram,
                "gss" | "sspi" if !named => continue,
                _ => return Err(refused("names a method that is not supported")),
            };
            if *method == named {
                return Err(refused("names a method twice"));
            }
            *method = named;
        }
        if !(auth.none || auth.password || auth.md5 || auth.scram) {
            return Err(refused("leaves no method"));
        }
        Ok(auth)
    }

    fn target_session_attrs(&self) -> Result<TargetSessionAttrs, ConfigError> {
        let key = "target_session_attrs";
        if self
            .0
            .get(key)
            .is_some_and(|attrs| ["read-only", "standby", "prefer-standby"].contains(&attrs.as_str()))
        {
            return Err(ConfigError::new(
                "target_session_attrs asks for a standby, which can't be mirrored from",
            )
            .hint("Use read-write, primary or any."));
        }
        self.one_of(
            key,
            &[
                ("read-write", TargetSessionAttrs::ReadWrite),
                ("primary", TargetSessionAttrs::Primary),
                ("any", TargetSessionAttrs::Any),
            ],
        )
    }

    fn hosts(&self) -> Result<Vec<Host>, ConfigError> {
        let list = |key: &str| -> Option<Vec<String>> {
            Some(self.0.get(key)?.split(',').map(|entry| entry.trim().to_owned()).collect())
        };
        let (names, addresses) = (list("host"), list("hostaddr"));
        let count = match (&names, &addresses) {
            (Some(names), Some(addresses)) if names.len() != addresses.len() => {
                return Err(ConfigError::new("host and hostaddr have different numbers of entries"));
            }
            (Some(list), _) | (None, Some(list)) => list.len(),
            (None, None) => {
                return Err(ConfigError::new("the connection string has no host")
                    .hint("Name the server of Odoo's database: host=…."));
            }
        };
        let ports = self.ports(count)?;
        (0..count)
            .map(|at| {
                let entry = |list: &Option<Vec<String>>| {
                    list.as_ref().map(|list| list[at].clone()).filter(|entry| !entry.is_empty())
                };
                let address = entry(&addresses);
                let name = entry(&names).or_else(|| address.clone());
                let name = name.ok_or_else(|| ConfigError::new("an entry of host is empty"))?;
                let address = address
                    .map(|address| address.parse::<IpAddr>())
                    .transpose()
                    .map_err(|_| ConfigError::new("an entry of hostaddr is not an IP address"))?;
                Ok(Host { name, address, port: ports[at] })
            })
            .collect()
    }

    /// One port for each host; a single one is for all.
    fn ports(&self, hosts: usize) -> Result<Vec<u16>, ConfigError> {
        let text = self.0.get("port").map(String::as_str).unwrap_or_default();
        let ports =
            text.split(',')
                .map(|port| match port.trim() {
                    "" => Ok(DEFAULT_PORT),
                    port => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
                        ConfigError::new("an entry of port is not a number between 1 and 65535")
                    }),
                })
                .collect::<Result<Vec<u16>, _>>()?;
        match ports.len() {
            1 => Ok(vec![ports[0]; hosts]),
            count if count == hosts => Ok(ports),
            _ => Err(ConfigError::new("host and port have different numbers of entries")
                .hint("Give one port for all hosts, or one for each.")),
        }
    }
}
