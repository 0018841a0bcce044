//! `postgres://user@host:port,[::1]:port/dbname?key=value` taken apart into libpq's keywords.

use super::ConfigError;

/// What follows the scheme, if the text is a URI at all.
pub(super) fn without_scheme(text: &str) -> Option<&str> {
    let text = text.trim();
    text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))
}

/// The URI's parts as key and value, decoded and unchecked.
pub(super) fn settings(rest: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut settings = Vec::new();
    let mut put = |key: &str, value: &str| -> Result<(), ConfigError> {
        settings.push((decoded(key)?, decoded(value)?));
        Ok(())
    };

    // As libpq does: credentials are there if an @ comes before the first slash.
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let rest = match rest[..authority_end].find('@') {
        Some(at) => {
            match rest[..at].split_once(':') {
                Some((user, password)) => {
                    put("user", user)?;
                    put("password", password)?;
                }
                None => put("user", &rest[..at])?,
            }
            &rest[at + 1..]
        }
        None => rest,
    };

    let (hosts, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !hosts.is_empty() {
        let (names, ports) = hosts_and_ports(hosts)?;
        put("host", &names)?;
        put("port", &ports)?;
    }

    let (dbname, query) = match rest.split_once('?') {
        Some((path, query)) => (path, query),
        None => (rest, ""),
    };
    if let Some(dbname) = dbname.strip_prefix('/').filter(|dbname| !dbname.is_empty()) {
        put("dbname", dbname)?;
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            // The one word of JDBC that libpq knows.
            Some(("ssl", "true")) => put("sslmode", "require")?,
            Some((key, value)) => put(key, value)?,
            None => return Err(ConfigError::new("a query parameter of the URI is not followed by \"=\"")),
        }
    }
    Ok(settings)
}

/// `a:1,[::1],c:3` as the lists `a,::1,c` and `1,,3`.
fn hosts_and_ports(text: &str) -> Result<(String, String), ConfigError> {
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for entry in text.split(',') {
        let (name, after) = match entry.strip_prefix('[') {
            Some(bracketed) => bracketed
                .split_once(']')
                .ok_or_else(|| ConfigError::new("an IPv6 address of the URI has no closing bracket"))?,
            None => entry.split_at(entry.find(':').unwrap_or(entry.len())),
        };
        let port = match after.strip_prefix(':') {
            Some(port) => port,
            None if after.is_empty() => "",
            None => return Err(ConfigError::new("something follows an IPv6 address of the URI")),
        };
        names.push(name);
        ports.push(port);
    }
    Ok((names.join(","), ports.join(",")))
}

fn decoded(text: &str) -> Result<String, ConfigError> {
    let refuse = || {
        ConfigError::new("the URI holds a percent sign that two hexadecimal digits don't follow")
            .hint("Write a percent sign itself as %25.")
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else { return Err(refuse()) };
        match high * 16 + low {
            0 => return Err(ConfigError::new("the URI holds %00, which no value may")),
            // Two hexadecimal digits fit a byte.
            decoded => bytes.push(decoded as u8),
        }
    }
    String::from_utf8(bytes)
        .map_err(|_| ConfigError::new("the URI holds percent-encoded bytes that are not UTF-8"))
}
