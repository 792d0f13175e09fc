//! Text on a terminal of a given width. Pure.

/// The lines of `text`, none wider than `width`, broken between words where that is possible.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let room = width.saturating_sub(lines.last().map_or(0, |line| length(line) + 1));
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if length(word) <= room => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
        // A word that is wider than the terminal goes on in the next line.
        while let Some(cut) = lines.last().and_then(|line| line.char_indices().nth(width)).map(|(at, _)| at) {
            let rest = lines.last_mut().map(|line| line.split_off(cut)).unwrap_or_default();
            lines.push(rest);
        }
    }
    lines
}

/// `text`, cut to `width` with a sign that it was.
pub(super) fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    if width == 0 { String::new() } else { kept.chain(['…']).collect() }
}

/// In cells of a terminal, as far as each letter takes one.
pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_a_long_word_within() {
        assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4), [""]);
        assert!(wrapped("some words of text", 0).iter().all(|line| length(line) <= 1));
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(
            (cut("abc", 3), cut("abcd", 3), cut("abcd", 0)),
            ("abc".into(), "ab…".into(), String::new())
        );
    }
}
