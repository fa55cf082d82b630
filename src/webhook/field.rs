//! Reading JSON of any shape by name, with a complaint that names the field where a type is wrong.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// No more complaints of one kind are kept than this; the rest is counted. Of thousands of slips the
/// first few are as good, and whoever asks waits for the answer.
const MOST_COMPLAINTS: usize = 20;

/// The longest text of an object that is repeated in a message, in bytes: every name that Kubernetes
/// takes fits.
const LONGEST_SHOWN: usize = 256;

/// The first `most` bytes of a text, or a little less so that no character is cut.
pub(super) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    Cow::Owned(format!("{}…", &text[..end]))
}

/// A text of the object as a message repeats it.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    cut(text, LONGEST_SHOWN)
}

/// Names of the object, one after the other, as many as a message repeats.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>, separator: &str) -> String {
    let (mut text, mut more) = (String::new(), 0_usize);
    for name in names {
        if more > 0 || (!text.is_empty() && text.len() + name.len() > LONGEST_SHOWN) {
            more += 1;
            continue;
        }
        if !text.is_empty() {
            text.push_str(separator);
        }
        text.push_str(&shown(name));
    }
    if more > 0 {
        text.push_str(separator);
        text.push_str(&["and ", &more.to_string(), " more"].concat());
    }
    text
}

/// What a rule found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Each refuses the request.
    errors: Vec<Complaint>,
    /// How many more were found than are kept.
    more_errors: usize,
    /// None of them refuses it.
    warnings: Vec<String>,
    /// How many more were found than are kept.
    more_warnings: usize,
}

/// One reason to refuse.
#[derive(Debug)]
struct Complaint {
    label: &'static str,
    text: String,
}

impl Verdict {
    /// A field that breaks a rule by itself.
    pub(super) fn field(&mut self, text: String) {
        self.complain("field", text);
    }

    /// A field that may not change.
    pub(super) fn immutable(&mut self, text: String) {
        self.complain("immutable", text);
    }

    /// A replica count that an adapter holds.
    pub(super) fn guarded(&mut self, text: String) {
        self.complain("replicas", text);
    }

    pub(super) fn warn(&mut self, text: String) {
        if self.warnings.len() < MOST_COMPLAINTS {
            self.warnings.push(text);
        } else {
            self.more_warnings += 1;
        }
    }

    fn complain(&mut self, label: &'static str, text: String) {
        if self.errors.len() < MOST_COMPLAINTS {
            self.errors.push(Complaint { label, text });
        } else {
            self.more_errors += 1;
        }
    }

    /// Takes the complaints of another verdict over, each after this beginning.
    pub(super) fn take(&mut self, before: &str, other: Self) {
        let Self { errors, more_errors, warnings, more_warnings } = other;
        for Complaint { label, text } in errors {
            self.complain(label, format!("{before}{text}"));
        }
        self.more_errors += more_errors;
        for text in warnings {
            self.warn(text);
        }
        self.more_warnings += more_warnings;
    }

    /// The label of the first complaint and all of them, one a line; `None` where there is none. Then
    /// the warnings.
    pub(super) fn told(self) -> (Option<(&'static str, String)>, Vec<String>) {
        let Self { errors, more_errors, mut warnings, more_warnings } = self;
        let more = format!("and {more_errors} more");
        let denial = errors.first().map(|first| {
            let lines = errors.iter().map(|complaint| complaint.text.as_str());
            let lines: Vec<&str> =
                lines.chain((more_errors > 0).then_some(more.as_str())).collect();
            (first.label, lines.join("\n"))
        });
        if more_warnings > 0 {
            warnings.push(format!("and {more_warnings} more"));
        }
        (denial, warnings)
    }
}

/// A place in an object, there or not. `null` is as good as not there.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    path: String,
    value: Option<&'a Value>,
}

impl<'a> Field<'a> {
    pub(super) fn new(path: &str, value: Option<&'a Value>) -> Self {
        Self { path: path.to_owned(), value: value.filter(|value| !value.is_null()) }
    }

    /// The member `key`.
    pub(super) fn get(&self, key: &str) -> Self {
        let path =
            if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self::new(&path, self.value.and_then(|value| value.get(key)))
    }

    /// An entry of a list or map, written with brackets.
    pub(super) fn entry(&self, key: &str, value: &'a Value) -> Self {
        Self::new(&format!("{}[{}]", self.path, shown(key)), Some(value))
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) const fn value(&self) -> Option<&'a Value> {
        self.value
    }

    pub(super) const fn is_set(&self) -> bool {
        self.value.is_some()
    }

    /// Text; empty where there is none.
    pub(super) fn text(&self, verdict: &mut Verdict) -> &'a str {
        self.read("text", verdict, Value::as_str).unwrap_or_default()
    }

    /// True or false; false where there is none.
    pub(super) fn flag(&self, verdict: &mut Verdict) -> bool {
        self.read("true or false", verdict, Value::as_bool).unwrap_or_default()
    }

    pub(super) fn whole(&self, verdict: &mut Verdict) -> Option<i64> {
        self.read("a whole number", verdict, Value::as_i64)
    }

    pub(super) fn number(&self, verdict: &mut Verdict) -> Option<f64> {
        self.read("a number", verdict, Value::as_f64)
    }

    pub(super) fn map(&self, verdict: &mut Verdict) -> Option<&'a Map<String, Value>> {
        self.read("a mapping", verdict, Value::as_object)
    }

    pub(super) fn list(&self, verdict: &mut Verdict) -> &'a [Value] {
        self.read("a list", verdict, |value| value.as_array().map(Vec::as_slice))
            .unwrap_or_default()
    }

    /// The entries of a list.
    pub(super) fn items(&self, verdict: &mut Verdict) -> Vec<Self> {
        let list = self.list(verdict).iter().enumerate();
        list.map(|(index, item)| self.entry(&index.to_string(), item)).collect()
    }

    fn read<T>(
        &self,
        expected: &str,
        verdict: &mut Verdict,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value?;
        let found = read(value);
        if found.is_none() {
            let what = type_of(value);
            verdict.field(format!("{}: expected {expected}, found {what}", self.path));
        }
        found
    }
}

fn type_of(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            // A name is worth showing, a manifest in a wrong place is not.
            if text.chars().count() <= 40 {
                format!("the text `{text}`")
            } else {
                "a text".to_owned()
            }
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
        assert_eq!(cut("aüü", 2), "a…");
        assert_eq!(cut("ü", 0), "…");
        let name = "a".repeat(253);
        assert_eq!(shown(&name), name);
    }

    #[test]
    fn of_many_names_the_first_are_listed() {
        assert_eq!(listed(["a", "b"].into_iter(), ", "), "a, b");
        assert_eq!(listed(std::iter::empty(), ", "), "");
        let long = "x".repeat(300);
        assert_eq!(listed([long.as_str(), "b", "c"].into_iter(), " "), {
            let first = "x".repeat(256);
            format!("{first}… and 2 more")
        });
    }

    #[test]
    fn of_many_complaints_the_first_are_kept_and_the_rest_is_counted() {
        let mut verdict = Verdict::default();
        let mut inner = Verdict::default();
        for number in 0..30 {
            inner.field(number.to_string());
            inner.warn(number.to_string());
        }
        verdict.immutable("first".to_owned());
        verdict.take("inner ", inner);
        let (denial, warnings) = verdict.told();
        let (label, message) = denial.unwrap();
        assert_eq!(label, "immutable");
        assert_eq!(message.lines().count(), 21);
        assert!(message.starts_with("first\ninner 0\n"), "{message}");
        assert!(message.ends_with("\ninner 18\nand 11 more"), "{message}");
        assert_eq!(warnings.len(), 21);
        assert_eq!(warnings[20], "and 10 more");
        assert_eq!(Verdict::default().told(), (None, Vec::new()));
    }
}
