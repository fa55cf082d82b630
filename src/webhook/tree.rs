//! JSON of any shape, up to a number of values.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most values in one object: a graph of 25 services has some thousands, with its managed fields.
/// A value takes about a hundred bytes once read but two as text (`0,`): without a bound a body of
/// four megabytes would take hundreds.
pub(super) const MOST_VALUES: usize = 100_000;

/// An object of bounded size.
#[derive(Debug)]
pub(super) struct Tree(pub(super) Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Node { left: &Cell::new(MOST_VALUES) }.deserialize(deserializer).map(Self)
    }
}

/// One value of a tree that may have so many more.
#[derive(Clone, Copy)]
struct Node<'a> {
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| {
            D::Error::custom(format_args!("the object has more than {MOST_VALUES} values"))
        })?;
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_serde_json_reads() {
        let text = r#"{"a": [1, -2, 3.5, null, true, "x\n"], "b": {"c": {}}, "u": 18446744073709551615, "a2": []}"#;
        let tree: Tree = serde_json::from_str(text).unwrap();
        assert_eq!(tree.0, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(tree.0.to_string(), serde_json::from_str::<Value>(text).unwrap().to_string());
    }

    #[test]
    fn so_many_values_and_no_more() {
        // The list itself is one.
        let text = |items: usize| format!("[{}0]", "0,".repeat(items - 1));
        assert!(serde_json::from_str::<Tree>(&text(MOST_VALUES - 1)).is_ok());
        let error = serde_json::from_str::<Tree>(&text(MOST_VALUES)).unwrap_err().to_string();
        assert!(error.starts_with("the object has more than 100000 values"), "{error}");
        let maps = format!("[{}0]", r#"{"":{}},"#.repeat(MOST_VALUES));
        assert!(serde_json::from_str::<Tree>(&maps).is_err());
    }
}
