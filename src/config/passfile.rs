//! libpq's password file: `host:port:dbname:user:password`, a line each. Reading the file, and
//! refusing one that others may read, is the caller's.

/// The password of the first line that fits. `*` fits anything; `\:` and `\\` are `:` and `\`. A
/// Unix socket's directory should be given as `localhost`, as libpq does for its default one.
pub fn password_for(text: &str, host: &str, port: u16, dbname: &str, user: &str) -> Option<String> {
    let port = port.to_string();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line.strip_suffix('\r').unwrap_or(line);
        for wanted in [host, &port, dbname, user] {
            rest = after_field(rest, wanted)?;
        }
        Some(unescaped(rest)).filter(|password| !password.is_empty())
    })
}

/// What follows the field and its colon, if the field fits.
fn after_field<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut field = line.chars();
    for wanted in wanted.chars() {
        match field.next()? {
            // A bare colon ends the field before all of `wanted` was seen.
            ':' => return None,
            '\\' if field.next()? == wanted => {}
            c if c == wanted && c != '\\' => {}
            _ => return None,
        }
    }
    field.as_str().strip_prefix(':')
}

fn unescaped(field: &str) -> String {
    let mut characters = field.chars();
    let mut plain = String::with_capacity(field.len());
    while let Some(c) = characters.next() {
        match c {
            '\\' => plain.extend(characters.next()),
            c => plain.push(c),
        }
    }
    plain
}
