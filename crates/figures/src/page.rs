//! One page with all figures, and each figure by itself.

use crate::chart::Drawing;
use crate::style;
use crate::xml::Element;

/// A figure: a drawing, what it shows, and the numbers behind it.
#[derive(Clone, Debug)]
pub struct PageFigure {
    /// Its name, of letters, digits and hyphens: the name of its file, and of its place in the page.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) caption: String,
    pub(crate) drawing: Drawing,
    pub(crate) table: Table,
}

/// The numbers behind a figure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// All figures of a run or of a sweep.
#[derive(Clone, Debug)]
pub struct Page {
    pub(crate) title: String,
    pub(crate) note: String,
    /// What matters most, by name.
    pub(crate) facts: Vec<(String, String)>,
    pub(crate) figures: Vec<PageFigure>,
}

impl PageFigure {
    /// Its name, of letters, digits and hyphens.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The drawing as an SVG file that needs no other.
    pub fn svg(&self) -> String {
        let svg = self.drawing.svg(&self.title, Some(&style::of_drawing()));
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", svg.written())
    }

    fn html(&self) -> Element {
        let mut figure = Element::new("figure").with("id", &self.name).holding([
            Element::new("h2").text(&self.title),
            Element::new("figcaption").text(&self.caption),
            Element::new("div")
                .with("class", "wide")
                .holding([self.drawing.svg(&self.title, None)]),
        ]);
        if !self.table.rows.is_empty() {
            let table = Element::new("div").with("class", "wide").holding([self.table.html()]);
            let summary = Element::new("summary").text("The numbers");
            figure.push(Element::new("details").holding([summary, table]));
        }
        figure
    }
}

impl Table {
    fn html(&self) -> Element {
        let head = self.head.iter().map(|name| Element::new("th").with("scope", "col").text(name));
        let body = self.rows.iter().map(|cells| {
            Element::new("tr").holding(cells.iter().map(|cell| Element::new("td").text(cell)))
        });
        Element::new("table").holding([
            Element::new("thead").holding([Element::new("tr").holding(head)]),
            Element::new("tbody").holding(body),
        ])
    }
}

impl Page {
    /// The name of the experiment or of the sweep.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The figures, in the order of the page.
    pub fn figures(&self) -> &[PageFigure] {
        &self.figures
    }

    /// Whether a text is a page that was written here.
    pub fn is_one(html: &str) -> bool {
        html.contains(r#"<meta name="generator" content="systoliq"/>"#)
    }

    /// The page as an HTML file that needs no other, and is well-formed XML, too.
    pub fn html(&self) -> String {
        let meta = [
            Element::new("meta").with("charset", "utf-8"),
            Element::new("meta").with("name", "generator").with("content", "systoliq"),
            Element::new("meta")
                .with("name", "viewport")
                .with("content", "width=device-width, initial-scale=1"),
            Element::new("title").text(&self.title),
            Element::new("style").text(style::of_page()),
        ];
        let facts = self.facts.iter().map(|(name, value)| {
            Element::new("div")
                .holding([Element::new("dt").text(name), Element::new("dd").text(value)])
        });
        let links = self.figures.iter().map(|figure| {
            Element::new("a").with("href", format!("#{}", figure.name)).text(&figure.title)
        });
        let mut main = Element::new("main").holding([
            Element::new("h1").text(&self.title),
            Element::new("p").with("class", "note").text(&self.note),
            Element::new("dl").with("class", "facts").holding(facts),
            Element::new("nav").holding(links),
        ]);
        self.figures.iter().for_each(|figure| main.push(figure.html()));
        let body = Element::new("body").holding([
            main,
            Element::new("div").with("id", "tip").with("role", "tooltip"),
            Element::new("script").text(style::SCRIPT),
        ]);
        let html = Element::new("html")
            .with("lang", "en")
            .holding([Element::new("head").holding(meta), body]);
        format!("<!DOCTYPE html>\n{}\n", html.written())
    }
}
