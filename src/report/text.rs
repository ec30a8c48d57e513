//! How text looks: on a terminal colour and lines that fit, in a pipe one sentence a line and nothing shortened.

/// Under this much room for words a line is left to the terminal to break.
const LEAST_ROOM: usize = 20;

/// How text looks. The default is a pipe's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether there is a bar for the lifetime that is left.
    pub bar: bool,
    /// Whether there is colour.
    pub color: bool,
    /// The terminal's columns; nothing in a pipe, whose reader wants every letter.
    pub width: Option<usize>,
}

/// The colours. No sentence needs them to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Green,
    Yellow,
    Red,
}

impl Style {
    /// Puts a colour around text, where there is colour.
    pub(super) fn paint(&self, color: Color, text: &str) -> String {
        // ECMA-48, "select graphic rendition"; 39 is the terminal's own foreground.
        let code = match color {
            _ if !self.color => return text.to_owned(),
            Color::Green => 32,
            Color::Yellow => 33,
            Color::Red => 31,
        };
        format!("\x1b[{code}m{text}\x1b[39m")
    }

    /// Text behind a head. Where it would be wider than the terminal it goes on in further lines, `indent` columns in.
    pub(super) fn wrapped(&self, head: &str, text: &str, indent: usize) -> String {
        let head_width = head.chars().count();
        let room = self.width.filter(|width| *width >= indent + LEAST_ROOM);
        let Some(width) = room else {
            return format!("{head}{text}\n");
        };
        let mut lines = head.to_owned();
        let mut column = head_width;
        // A blank belongs before each word, but for the first and for one that begins a line.
        let mut fresh = true;
        for word in text.split(' ') {
            let word_width = word.chars().count();
            if column + usize::from(!fresh) + word_width > width && column > indent {
                lines = lines.trim_end().to_owned();
                lines.push('\n');
                lines.push_str(&" ".repeat(indent));
                column = indent;
                fresh = true;
            }
            if !fresh {
                lines.push(' ');
                column += 1;
            }
            lines.push_str(word);
            column += word_width;
            fresh = false;
        }
        lines.push('\n');
        lines
    }
}

/// Text on one line, of letters that are what they look like: a host in a manifest, or a CA's words, could move the cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(harmless).collect()
}

/// The letter, or what stands for it where it could move others, turn their direction, or not be seen: then one host could look
/// like another (<https://www.unicode.org/reports/tr36/>).
pub(super) fn harmless(letter: char) -> char {
    match letter {
        '\n' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => '\u{fffd}',
        '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => '\u{fffd}',
        '\u{e0000}'..='\u{e0fff}' => '\u{fffd}',
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    }
}

/// Text in at most so many columns, an ellipsis for what is missing. A count at its end (` +3`) stays.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    match text.rsplit_once(" +") {
        Some((head, count)) if count.len() + 4 < columns => {
            format!("{} +{count}", shortened(head, columns - count.len() - 2))
        }
        _ => {
            let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
            format!("{kept}…")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_wrapped_only_on_a_terminal() {
        let text = "one two three four five six";
        let terminal = |columns| Style {
            width: Some(columns),
            ..Style::default()
        };
        assert_eq!(Style::default().wrapped("head: ", text, 2), format!("head: {text}\n"));
        assert_eq!(
            terminal(22).wrapped("head: ", text, 2),
            "head: one two three\n  four five six\n"
        );
        assert_eq!(
            terminal(22).wrapped("head: ", "abcdefghijklmnopqrstuvwxyz b", 2),
            "head:\n  abcdefghijklmnopqrstuvwxyz\n  b\n"
        );
        assert_eq!(terminal(10).wrapped("head: ", text, 2), format!("head: {text}\n"));
    }

    #[test]
    fn what_is_shortened_keeps_its_count() {
        for (text, columns, expected) in [
            ("a.example", 9, "a.example"),
            ("a.example", 8, "a.examp…"),
            ("long.example +3", 10, "long.e… +3"),
            ("long.example +3", 4, "lon…"),
        ] {
            assert_eq!(shortened(text, columns), expected);
        }
    }

    #[test]
    fn what_moves_or_hides_letters_does_not_reach_a_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb c");
        assert_eq!(plain("moc.\u{202e}example\u{200b}"), "moc.\u{fffd}example\u{fffd}");
    }
}
