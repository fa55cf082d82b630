//! Reading what kubectl prints.

/// A table that kubectl printed.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// Cells begin where the names of their columns do.
    pub(super) fn read(text: &str) -> Self {
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let begins: Vec<usize> = head
            .char_indices()
            .filter(|(at, c)| *c != ' ' && (*at == 0 || head.as_bytes()[at - 1] == b' '))
            .map(|(at, _)| at)
            .collect();
        let cells = |line: &str| -> Vec<String> {
            let ends = begins.iter().skip(1).copied().chain([usize::MAX]);
            let cell = |(from, to): (&usize, usize)| {
                let to = to.min(line.len());
                line.get(*from..to).unwrap_or_default().trim().to_owned()
            };
            begins.iter().zip(ends).map(cell).collect()
        };
        Self { head: cells(head), rows: lines.map(cells).collect() }
    }

    /// The rows without the last column, which has to be an age.
    pub(super) fn rows_of_some_age(&self) -> Vec<Vec<&str>> {
        assert_eq!(self.head.last().map(String::as_str), Some("AGE"), "{self:?}");
        let mut rows = Vec::new();
        for row in &self.rows {
            let (age, cells) = row.split_last().expect("a row has cells");
            let is_age = age.ends_with(['s', 'm']) && age.starts_with(|c: char| c.is_ascii_digit());
            assert!(is_age, "{self:?}");
            rows.push(cells.iter().map(String::as_str).collect());
        }
        rows
    }
}

/// The text of `kubectl describe` with one blank between words, so that it is independent of columns.
pub(super) fn squeezed(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
