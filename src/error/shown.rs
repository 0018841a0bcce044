//! Somebody else's words, made fit to be shown: in a log, in status(), on an operator's terminal.

/// The most bytes that are shown of one text.
const LONGEST: usize = 2_000;

/// The text, cut to some 2 kB, with characters that a terminal would obey written out.
///
/// Line ends and tabs stay: PostgreSQL indents the lines of a message in its log.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LONGEST + 100));
    for character in text.chars() {
        if shown.len() >= LONGEST {
            shown.push_str(&format!("… ({} bytes in all)", text.len()));
            break;
        }
        match character {
            '\n' | '\t' => shown.push(character),
            character if commands(character) => shown.extend(character.escape_unicode()),
            character => shown.push(character),
        }
    }
    shown
}

/// Control characters, and those that turn the direction of writing or take up no room.
fn commands(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, shown};

    #[test]
    fn words_of_any_language_are_shown_as_they_are() {
        for text in ["", "relation \"t\" does not exist", "строка 1\n\tстрока 2", "日本語", "naïve"]
        {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(shown("\u{1b}[2Jgone\r\u{7}"), "\\u{1b}[2Jgone\\u{d}\\u{7}");
        assert_eq!(shown("a\u{202e}b\u{9b}c"), "a\\u{202e}b\\u{9b}c");
    }

    #[test]
    fn a_text_without_end_is_cut_and_says_how_long_it_was() {
        for text in ["x".repeat(50_000_000), "ж".repeat(LONGEST), "\u{1b}".repeat(LONGEST)] {
            let cut = shown(&text);
            assert!(cut.len() < LONGEST + 100, "{} bytes", cut.len());
            assert!(cut.ends_with(&format!("… ({} bytes in all)", text.len())));
        }
    }
}
