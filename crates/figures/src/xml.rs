//! Trees of elements, written as text that is XML and HTML at once.
//!
//! Texts and attributes are escaped where they are written and nowhere else. Elements without
//! children are written with a closing tag, but for the few that HTML knows as void.

use std::fmt::{Display, Write as _};

/// Elements that HTML closes by themselves.
const VOID: [&str; 1] = ["meta"];

/// Elements whose text HTML takes as it is, so that none may need escaping.
const RAW: [&str; 2] = ["style", "script"];

/// An element with its attributes and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<XmlNode>,
}

#[derive(Clone, Debug, PartialEq)]
enum XmlNode {
    Element(Element),
    Text(String),
}

impl Element {
    /// An empty element.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new(), children: Vec::new() }
    }

    /// The same with an attribute.
    pub(crate) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }

    /// The same with an attribute that is a length or a place in a drawing, to 1/100.
    pub(crate) fn at(self, name: &'static str, value: f64) -> Self {
        self.with(name, place(value))
    }

    /// The same with text at its end.
    pub(crate) fn text(mut self, text: impl Display) -> Self {
        self.children.push(XmlNode::Text(text.to_string()));
        self
    }

    /// The same with elements at its end.
    pub(crate) fn holding(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children.into_iter().map(XmlNode::Element));
        self
    }

    /// Adds an element at its end.
    pub(crate) fn push(&mut self, child: Self) {
        self.children.push(XmlNode::Element(child));
    }

    /// As text, without blanks or line breaks that it does not hold.
    pub(crate) fn written(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) {
        write!(out, "<{}", self.name).expect("writing to a string");
        for (name, value) in &self.attributes {
            write!(out, " {name}=\"{}\"", escaped(value)).expect("writing to a string");
        }
        if VOID.contains(&self.name) {
            assert!(self.children.is_empty(), "{} holds nothing", self.name);
            out.push_str("/>");
            return;
        }
        out.push('>');
        for child in &self.children {
            match child {
                XmlNode::Element(element) => element.write(out),
                XmlNode::Text(text) => {
                    let text = escaped(text);
                    assert!(!RAW.contains(&self.name) || !text.contains('&'), "{text}");
                    out.push_str(&text);
                }
            }
        }
        write!(out, "</{}>", self.name).expect("writing to a string");
    }
}

/// A place or length, to 1/100 and without zeros at its end. What values have no finite place, as
/// those whose sum is beyond `f64`, stand at 0.
pub(crate) fn place(value: f64) -> String {
    if !value.is_finite() {
        return "0".to_owned();
    }
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text with what XML reserves escaped, and what it cannot have replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(character),
            '\0'..'\u{20}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            // They would turn round what stands behind them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_escaped_where_it_is_written() {
        let nasty = "<b a=\"1\">&\u{202e}";
        let element = Element::new("g").with("id", nasty).text(nasty).holding([Element::new("p")]);
        let safe = "&lt;b a=&quot;1&quot;&gt;&amp;\u{fffd}";
        assert_eq!(element.written(), format!("<g id=\"{safe}\">{safe}<p></p></g>"));
        assert_eq!(
            Element::new("meta").with("charset", "utf-8").written(),
            "<meta charset=\"utf-8\"/>"
        );
    }

    #[test]
    fn places_are_short() {
        let places = [(0.0, "0"), (-0.001, "0"), (1.5, "1.5"), (100.0, "100"), (-2.345_6, "-2.35")];
        for (value, text) in places {
            assert_eq!(place(value), text);
        }
    }
}
