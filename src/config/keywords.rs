//! `key = value` pairs as libpq reads them: values may stand in single quotes, a backslash takes
//! the next character as it is.

use super::ConfigError;

/// The pairs in order, unquoted and unchecked.
pub(super) fn settings(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut rest = text.trim_start();
    let mut settings = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        // Whatever stands before a missing "=" may be a piece of a value: it isn't quoted.
        let value = after.trim_start().strip_prefix('=').ok_or_else(|| {
            ConfigError::new("a keyword of the connection string is not followed by \"=\"")
                .hint("Write host=… dbname=… user=…; put a value that holds spaces into single quotes.")
        })?;
        let (value, after) = value_at(value.trim_start())?;
        settings.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(settings)
}

/// One value, and what follows it.
fn value_at(text: &str) -> Result<(String, &str), ConfigError> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c if !quoted && c.is_ascii_whitespace() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(ConfigError::new("a quoted value of the connection string does not end"));
    }
    Ok((value, ""))
}
