//! Reading one line: JSON as Python writes it, and fields that say what is wrong with them.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use crate::profile::kind;

/// What is wrong with a line, by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The field with its path; empty is the whole line.
    field: String,
    /// What is the matter with it.
    what: String,
    expected: String,
}

impl Wrong {
    /// A field that is there and cannot be used.
    pub(super) fn field(
        field: impl Into<String>,
        what: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), what: what.into(), expected: expected.into() }
    }

    /// A whole line.
    pub(super) fn line(what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::field("", what, expected)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, what, expected } = self;
        if !field.is_empty() {
            write!(f, "field {field}: ")?;
        }
        write!(f, "{what}, expected {expected}")
    }
}

/// One JSON object.
pub(super) fn object(line: &str) -> Result<Map<String, Value>, Wrong> {
    match serde_json::from_str(&standard(line)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(Wrong::line(kind(&other), "a JSON object")),
        Err(error) => {
            // Each line is parsed by itself, so that the parser calls every one line 1.
            let error = error.to_string().replace(" at line 1 column ", " at column ");
            Err(Wrong::line(format!("not JSON ({error})"), "a JSON object"))
        }
    }
}

/// Python's `NaN`, `Infinity` and `-Infinity`, and numbers beyond the largest float, as `null`: no
/// figure is known where they stand. What stands in a string is left alone.
fn standard(line: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut kept, mut at) = (0, 0);
    let bytes = line.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b if is_of_token(b) => {
                let end = bytes[at..].iter().position(|b| !is_of_token(*b));
                let end = end.map_or(bytes.len(), |n| at + n);
                if is_unknown(&line[at..end]) {
                    out.push_str(&line[kept..at]);
                    out.push_str("null");
                    kept = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if kept == 0 {
        return Cow::Borrowed(line);
    }
    out.push_str(&line[kept..]);
    Cow::Owned(out)
}

const fn is_of_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_')
}

fn is_unknown(token: &str) -> bool {
    // Rust reads more spellings of infinity than Python writes.
    let is_number = token.bytes().all(|b| !b.is_ascii_alphabetic() || matches!(b, b'e' | b'E'));
    matches!(token, "NaN" | "Infinity" | "-Infinity")
        || is_number && token.parse().is_ok_and(f64::is_infinite)
}

/// An object with the path that leads to it.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The object of a line.
    pub(super) const fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, path: String::new() }
    }

    /// The path of a field.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field that is there with a value that cannot be used.
    pub(super) fn wrong(&self, name: &str, what: impl Into<String>, expected: &str) -> Wrong {
        Wrong::field(self.at(name), what, expected)
    }

    /// What must be there, be it null.
    pub(super) fn needed(&self, name: &str, expected: &str) -> Result<&'a Value, Wrong> {
        self.map.get(name).ok_or_else(|| self.wrong(name, "missing", expected))
    }

    /// Text.
    pub(super) fn text(&self, name: &str, expected: &str) -> Result<&'a str, Wrong> {
        let value = self.needed(name, expected)?;
        value.as_str().ok_or_else(|| self.wrong(name, kind(value), expected))
    }

    /// A number; `None` where it is absent or null.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Wrong> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(x) => Ok(Some(x)),
                None => Err(self.wrong(name, kind(value), "a number, or null where unknown")),
            },
        }
    }

    /// The same where the field must be there; `None` is null.
    pub(super) fn needed_number(&self, name: &str) -> Result<Option<f64>, Wrong> {
        self.needed(name, "a number, or null where unknown")?;
        self.number(name)
    }

    /// An object; `None` where it is null.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, Wrong> {
        let expected = "an object, or null where unknown";
        let value = self.needed(name, expected)?;
        if value.is_null() {
            return Ok(None);
        }
        let map = value.as_object().ok_or_else(|| self.wrong(name, kind(value), expected))?;
        Ok(Some(Self { map, path: self.at(name) }))
    }

    /// A list of objects; empty where it is absent or null.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Self>, Wrong> {
        let list = match self.map.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(self.wrong(name, kind(other), "a list of objects")),
        };
        list.iter()
            .enumerate()
            .map(|(i, value)| {
                let path = format!("{}[{i}]", self.at(name));
                match value.as_object() {
                    Some(map) => Ok(Self { map, path }),
                    None => Err(Wrong::field(path, kind(value), "an object")),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_tokens_of_python_are_null_outside_of_text() {
        let line = r#"{"a":NaN,"b":[Infinity,-Infinity],"NaN":"x\"NaN","c":1e999,"d":-1e300}"#;
        let plain = r#"{"a":null,"b":[null,null],"NaN":"x\"NaN","c":null,"d":-1e300}"#;
        assert_eq!(standard(line), plain);
        assert!(matches!(standard(plain), Cow::Borrowed(_)));
    }

    #[test]
    fn a_mutilated_line_is_not_mended() {
        for line in ["", " ", "{", "[1]", "{\"a\":NaNs}", "{\"a\":inf}", "{\"a", "\"\\", "é\"é\\"]
        {
            assert!(object(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_error_names_field_and_expectation() {
        let map = object(r#"{"a":{"b":"x"},"l":[{},3],"n":null}"#).unwrap();
        let fields = Fields::new(&map);
        let inner = fields.object("a").unwrap().unwrap();
        assert_eq!(
            inner.number("b").unwrap_err().to_string(),
            "field a.b: text, expected a number, or null where unknown"
        );
        assert_eq!(
            fields.objects("l").unwrap_err().to_string(),
            "field l[1]: a number, expected an object"
        );
        assert_eq!(fields.needed_number("n"), Ok(None));
        assert_eq!(
            fields.text("m", "agg or disagg").unwrap_err().to_string(),
            "field m: missing, expected agg or disagg"
        );
    }
}
