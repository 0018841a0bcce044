//! A configuration as keywords that parse back. There is no secret in it to leave out.

use std::fmt;
use std::time::Duration;

use super::{ChannelBinding, Host, RequireAuth, SourceConfig, SslMode, TargetSessionAttrs};

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |of: &dyn Fn(&Host) -> String| self.hosts.iter().map(of).collect::<Vec<_>>().join(",");
        write!(f, "host={}", quoted(&list(&|host| host.name.clone())))?;
        if self.hosts.iter().any(|host| host.address.is_some()) {
            let addresses = list(&|host| host.address.map(|address| address.to_string()).unwrap_or_default());
            write!(f, " hostaddr={}", quoted(&addresses))?;
        }
        write!(f, " port={}", list(&|host| host.port.to_string()))?;
        write!(f, " dbname={} user={}", quoted(&self.dbname), quoted(&self.user))?;
        write!(f, " sslmode={}", self.sslmode.as_str())?;

        let seconds = |value: Option<Duration>| value.map(|value| value.as_secs().to_string());
        let optional = [
            ("sslrootcert", self.sslrootcert.clone()),
            ("channel_binding", self.channel_binding.unless_default()),
            ("require_auth", self.require_auth.unless_default()),
            ("connect_timeout", seconds(self.connect_timeout)),
            ("keepalives", (!self.keepalives).then(|| "0".to_owned())),
            ("keepalives_idle", seconds(self.keepalives_idle)),
            ("keepalives_interval", seconds(self.keepalives_interval)),
            ("keepalives_count", self.keepalives_count.map(|count| count.to_string())),
            ("tcp_user_timeout", self.tcp_user_timeout.map(|value| value.as_millis().to_string())),
            ("application_name", Some(self.application_name.clone())),
            ("passfile", self.passfile.clone()),
            ("target_session_attrs", self.target_session_attrs.unless_default()),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                write!(f, " {key}={}", quoted(&value))?;
            }
        }
        Ok(())
    }
}

impl SslMode {
    /// libpq's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

impl ChannelBinding {
    fn unless_default(self) -> Option<String> {
        match self {
            ChannelBinding::Prefer => None,
            ChannelBinding::Disable => Some("disable".to_owned()),
            ChannelBinding::Require => Some("require".to_owned()),
        }
    }
}

impl RequireAuth {
    fn unless_default(self) -> Option<String> {
        (self != RequireAuth::default()).then(|| {
            let methods = [
                ("none", self.none),
                ("password", self.password),
                ("md5", self.md5),
                ("scram-sha-256", self.scram),
            ];
            let named: Vec<&str> =
                methods.iter().filter(|(_, allowed)| *allowed).map(|(name, _)| *name).collect();
            named.join(",")
        })
    }
}

impl TargetSessionAttrs {
    fn unless_default(self) -> Option<String> {
        match self {
            TargetSessionAttrs::ReadWrite => None,
            TargetSessionAttrs::Any => Some("any".to_owned()),
            TargetSessionAttrs::Primary => Some("primary".to_owned()),
        }
    }
}

/// Quoted where it must be, so that what needs no quotes reads well.
fn quoted(value: &str) -> String {
    let plain = |c: char| !c.is_ascii_whitespace() && c != '\'' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}
