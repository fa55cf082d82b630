//! Reading JSON of any shape by name, with a complaint that names the field where a type is wrong.

use serde_json::{Map, Value};

/// What a rule found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Each refuses the request.
    pub(super) errors: Vec<Complaint>,
    /// None of them refuses it.
    pub(super) warnings: Vec<String>,
}

/// One reason to refuse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) label: &'static str,
    pub(super) text: String,
}

impl Verdict {
    /// A field that breaks a rule by itself.
    pub(super) fn field(&mut self, text: String) {
        self.errors.push(Complaint { label: "field", text });
    }

    /// A field that may not change.
    pub(super) fn immutable(&mut self, text: String) {
        self.errors.push(Complaint { label: "immutable", text });
    }

    /// A replica count that an adapter holds.
    pub(super) fn guarded(&mut self, text: String) {
        self.errors.push(Complaint { label: "replicas", text });
    }

    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
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
        Self::new(&format!("{}[{key}]", self.path), Some(value))
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
