//! A locale that parts decimals by a comma, as es_AR and de_DE do, made here: no machine must have
//! one.

use super::directory;
use super::installation::{command, hand_over, run};
use std::fs;
use std::path::PathBuf;

const DEFINITION: &str = r#"comment_char %
escape_char /
LC_MONETARY
int_curr_symbol "XXX "
currency_symbol "X"
mon_decimal_point ","
mon_thousands_sep "."
mon_grouping 3;3
positive_sign ""
negative_sign "-"
int_frac_digits 2
frac_digits 2
p_cs_precedes 1
p_sep_by_space 1
n_cs_precedes 1
n_sep_by_space 1
p_sign_posn 1
n_sign_posn 1
END LC_MONETARY
"#;

/// Gone with its files when it is dropped.
pub struct Locale {
    directory: PathBuf,
}

impl Locale {
    /// As `lc_monetary` names it.
    pub const NAME: &str = "xx_XX";

    #[track_caller]
    pub fn make() -> Locale {
        let directory = directory::create_empty("locale");
        let definition = directory.join("definition");
        fs::write(&definition, DEFINITION).expect("the disk has room");
        hand_over(&definition);
        // It warns of what the definition leaves out.
        let made = command("localedef")
            .args(["-c", "-f", "ANSI_X3.4-1968", "-i"])
            .args([&definition, &directory.join(Self::NAME)])
            .output();
        made.expect("localedef is there");
        run(command("test").arg("-d").arg(directory.join(Self::NAME)));
        Locale { directory }
    }

    /// The servers' LOCPATH: the system's own locales, too.
    pub fn path(&self) -> String {
        format!("{}:/usr/lib/locale", self.directory.display())
    }
}

impl Drop for Locale {
    fn drop(&mut self) {
        directory::remove(&self.directory);
    }
}
