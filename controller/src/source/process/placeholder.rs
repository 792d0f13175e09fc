//! Placeholders in commands: `{port}` stands for the value of `$PORT`. In: a text; out: what it becomes, or the word that
//! stands for nothing. `{{port}}` is the text `{port}`; `${port}` is left to the shell; other braces are themselves. Pure.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

/// The text with the ports in place; `ports` is by variable.
pub(super) fn fill(text: &str, ports: &BTreeMap<String, u16>) -> String {
    let port = |word: &str| ports.iter().find(|(variable, _)| named(variable) == word);
    let filled = pieces(text).into_iter().map(|piece| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Placeholder(word) => match port(word) {
            Some((_, port)) => port.to_string(),
            None => format!("{{{word}}}"),
        },
    });
    filled.collect()
}

/// The first placeholder that is not the name of any of `variables`.
pub(super) fn unknown<'a>(text: &'a str, variables: &BTreeSet<String>) -> Option<&'a str> {
    pieces(text).into_iter().find_map(|piece| match piece {
        Piece::Placeholder(word) if !variables.iter().any(|variable| named(variable) == word) => Some(word),
        Piece::Placeholder(_) | Piece::Text(_) => None,
    })
}

/// The word by which a placeholder names a variable.
pub(super) fn named(variable: &str) -> String {
    variable.to_ascii_lowercase()
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while let Some(open) = text[at..].find('{').map(|found| at + found) {
        let rest = &text[open..];
        if text[..open].ends_with('$') {
            at = open + 1;
        } else if let Some(word) = enclosed(rest, "{{", "}}") {
            let (first, last) = (open + 1, open + word.len() + 3);
            pieces.extend([Piece::Text(&text[plain..open]), Piece::Text(&text[first..last])]);
            (plain, at) = (last + 1, last + 1);
        } else if let Some(word) = enclosed(rest, "{", "}") {
            pieces.extend([Piece::Text(&text[plain..open]), Piece::Placeholder(word)]);
            plain = open + word.len() + 2;
            at = plain;
        } else {
            at = open + 1;
        }
    }
    pieces.push(Piece::Text(&text[plain..]));
    pieces
}

/// The word between `open`, with which the text begins, and `close`.
fn enclosed<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let inner = text.strip_prefix(open)?;
    let in_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let word = &inner[..inner.find(|c| !in_word(c)).unwrap_or(inner.len())];
    let is_word = word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    (is_word && inner[word.len()..].starts_with(close)).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        fill(text, &BTreeMap::from([("PORT".into(), 80), ("ADMIN_PORT".into(), 81)]))
    }

    fn unknown_in(text: &str) -> Option<&str> {
        unknown(text, &["PORT", "ADMIN_PORT"].map(str::to_owned).into())
    }

    #[test]
    fn each_placeholder_becomes_the_port_of_its_variable() {
        assert_eq!(
            filled("--at {port} --admin=127.0.0.1:{admin_port},{port}"),
            "--at 80 --admin=127.0.0.1:81,80"
        );
    }

    #[test]
    fn braces_that_are_no_placeholder_stay() {
        for text in
            ["{\"a\": {\"b\": 1}}", "a{2,3}", "{}", "{ port }", "{Port}", "${port}", "{1}", "{port", "é{"]
        {
            assert_eq!((filled(text).as_str(), unknown_in(text)), (text, None));
        }
    }

    #[test]
    fn doubled_braces_are_the_text_itself() {
        assert_eq!(filled("awk '{{print}}' {{port}} {{{name}}}"), "awk '{print}' {port} {{name}}");
        assert_eq!(unknown_in("awk '{{print}}'"), None);
    }

    #[test]
    fn a_word_that_stands_for_nothing_is_found() {
        assert_eq!(unknown_in("--at {port} --at {prot}"), Some("prot"));
        assert_eq!(unknown_in("awk '{print}'"), Some("print"));
        assert_eq!(unknown_in("--at {port} --at {admin_port}"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_one_without_words_in_braces_stays(text in "[{}$a-b é_1]{0,12}") {
            let filled = filled(&text);
            proptest::prop_assert!(text.contains("{{") || filled == text);
        }
    }
}
