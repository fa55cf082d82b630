//! Text of 80 columns: headings, wrapped lines, tables.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// Columns of a page.
const WIDTH: usize = 80;

/// A page that is being written.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// What was written.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// A heading of a section, with what `body` writes below it; left out where that is nothing.
    pub(super) fn section(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        let mut below = Self::default();
        body(&mut below);
        if !below.text.is_empty() {
            put!(self.text, "\n{name}\n{}", below.text);
        }
    }

    /// A line as it is.
    pub(super) fn line(&mut self, text: &str) {
        put!(self.text, "{text}\n");
    }

    /// `words` behind `label`, wrapped between words, each further line set in below the first word.
    pub(super) fn entry(&mut self, label: &str, words: &str) {
        const INDENT: usize = 13;
        let mut line = format!("  {label}");
        pad(&mut line, INDENT);
        let mut is_empty = true;
        for word in words.split_whitespace() {
            let length = line.chars().count();
            if !is_empty && length + 1 + word.chars().count() > WIDTH {
                put!(self.text, "{}\n", line.trim_end());
                line = " ".repeat(INDENT);
                is_empty = true;
            }
            if !is_empty || !line.ends_with(' ') {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        put!(self.text, "{}\n", line.trim_end());
    }

    /// A table whose columns but the first `left` and the last, where it is words, stand to the right.
    pub(super) fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>, words_from: usize) {
        if rows.is_empty() {
            return;
        }
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(WIDTH - 1).unwrap_or(u16::MAX));
        let cell = |(i, text): (usize, String)| {
            let right = i > 0 && i < words_from;
            Cell::new(text).set_alignment(if right {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            })
        };
        table.set_header(head.iter().map(|h| (*h).to_owned()).enumerate().map(cell));
        for row in rows {
            table.add_row(row.into_iter().enumerate().map(cell));
        }
        for line in table.to_string().lines() {
            put!(self.text, " {}\n", line.trim_end());
        }
    }
}

fn pad(line: &mut String, to: usize) {
    while line.chars().count() < to {
        line.push(' ');
    }
}
