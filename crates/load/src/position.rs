//! Where a node of a JSON text stands.

use std::fmt;

/// A place in a text: line and column from 1, columns counted in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where `path` stands in `text`, or the innermost node on the way to it that exists: at the key
/// of an object's member, else at the first byte of the value.
///
/// Array elements are named by their number. `text` must be valid JSON without duplicate keys.
///
/// ```
/// use systoliq_load::position::locate;
/// let text = "{ \"a\": [1,\n  {\"b\": 2}] }";
/// assert_eq!(locate(text, &["a", "1", "b"]).to_string(), "2:4");
/// assert_eq!(locate(text, &["a", "7"]).to_string(), "1:3");
/// ```
pub fn locate(text: &str, path: &[impl AsRef<str>]) -> Position {
    let mut scanner = Scanner { text, at: 0 };
    scanner.skip_blanks();
    let mut found = scanner.at;
    for name in path {
        match scanner.enter(name.as_ref()) {
            Some(place) => found = place,
            None => break,
        }
    }
    let before = &text[..found];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position { line: before.matches('\n').count() + 1, column: found - line_start + 1 }
}

/// Walks over valid JSON.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_while(&mut self, condition: impl Fn(u8) -> bool) {
        while self.byte().is_some_and(&condition) {
            self.at += 1;
        }
    }

    fn skip_blanks(&mut self) {
        self.skip_while(|byte| byte.is_ascii_whitespace());
    }

    /// Moves from the start of an array or object to the value of its member `name`; returns where
    /// that member starts.
    fn enter(&mut self, name: &str) -> Option<usize> {
        let keyed = match self.byte() {
            Some(b'{') => true,
            Some(b'[') => false,
            _ => return None,
        };
        for number in 0_usize.. {
            self.at += 1; // the bracket, or a comma
            self.skip_blanks();
            let place = self.at;
            if matches!(self.byte(), None | Some(b'}' | b']')) {
                return None;
            }
            let matches = if keyed {
                let key = self.string();
                self.skip_while(|byte| byte == b':' || byte.is_ascii_whitespace());
                serde_json::from_str::<String>(key).is_ok_and(|key| key == name)
            } else {
                name.parse() == Ok(number)
            };
            if matches {
                return Some(place);
            }
            self.skip_value();
            self.skip_blanks();
            if self.byte() != Some(b',') {
                return None;
            }
        }
        None
    }

    /// Passes over a string and returns it with its quotes.
    fn string(&mut self) -> &'a str {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.byte().filter(|&byte| byte != b'"') {
            self.at += if byte == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Passes over a value, however deep.
    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => {
                    self.string();
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => {
                    self.at += 1;
                    continue;
                }
                _ => self.skip_while(|byte| !b",:]} \n\r\t".contains(&byte)),
            }
            if depth == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_found_whatever_stands_before_it() {
        let text = r#"  {"skip" : {"x": ["}", "\"]", {}, [], -1.5e3, true]}, "a\u0062":
  [ {"c":null} , "s","#
            .to_owned()
            + "\n\t[[7, 8]]]}";
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        for (path, line, column) in [
            (&[] as &[&str], 1, 3),
            (&["skip"], 1, 4),
            (&["skip", "x", "5"], 1, 48),
            (&["ab"], 1, 56),
            (&["ab", "0"], 2, 5),
            (&["ab", "0", "c"], 2, 6),
            (&["ab", "0", "d"], 2, 5),
            (&["ab", "0", "c", "e"], 2, 6),
            (&["ab", "2", "0", "1"], 3, 7),
            (&["ab", "x"], 1, 56),
            (&["absent"], 1, 3),
        ] {
            assert_eq!(locate(&text, path), Position { line, column }, "{path:?}");
        }
    }
}
