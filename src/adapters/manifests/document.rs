//! Text -> values, a document each: YAML or JSON, merge keys applied, and never much larger than the text.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// By how much aliases may make a document larger than its file. A billion laughs need more.
const MOST_EXPANSION_BYTES: usize = 4 << 20;

/// By how much `[` and `{` may outnumber what closes them. Parsing ends at 128 levels; a text may have some of its own.
const MOST_OPEN: usize = 1_000;

/// Every document of a file, up to the first that is none.
///
/// Scalars are read by YAML 1.2: an unquoted `yes` or `on` is a text. kubectl reads YAML 1.1, where they are booleans. As an
/// annotation's value the text is no `true` either (and is named as a near miss), and in a boolean field it is an error, so
/// nothing is decided on a value that the cluster would not have.
pub(super) fn documents(text: &str) -> Box<dyn Iterator<Item = Result<Value, String>> + '_> {
    let text = text.trim_start_matches('\u{feff}');
    if is_json(text) {
        return Box::new(json(text));
    }
    if let Some(line) = too_deep(text) {
        let problem = format!("line {line} opens more than {MOST_OPEN} brackets that nothing closes");
        return Box::new(std::iter::once(Err(problem)));
    }
    Box::new(
        serde_yaml_ng::Deserializer::from_str(text).map(move |document| {
            Build::of(text, |build| build.deserialize(document)).map_err(|error| error.to_string())
        }),
    )
}

/// JSON goes its own way, since YAML knows neither tabs as indentation nor objects one after another. What starts like JSON
/// and is none may be YAML in flow style; only JSON that nests too deep is certain to be no better as YAML.
fn is_json(text: &str) -> bool {
    if !text.trim_start().starts_with(['{', '[']) {
        return false;
    }
    match json(text).next() {
        Some(Err(problem)) => problem.starts_with("recursion limit"),
        _ => true,
    }
}

fn json(text: &str) -> impl Iterator<Item = Result<Value, String>> + '_ {
    let mut stream = serde_json::Deserializer::from_str(text);
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended || matches!(stream.end(), Ok(())) {
            return None;
        }
        let value = Build::of(text, |build| build.deserialize(&mut stream)).map_err(|error| error.to_string());
        ended = value.is_err();
        Some(value)
    })
}

/// The line that opens too many brackets. The scanner below serde looks at each open one for each token, which takes hours
/// for a file of nothing else, so they are counted before. Only where a list or mapping can start, and no text is so lopsided.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("---") {
            depth = 0;
        }
        let mut before = ' ';
        for letter in line.chars() {
            match letter {
                '[' | '{' if " \t:,-?[{".contains(before) => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            before = letter;
        }
        if depth > MOST_OPEN {
            return Some(number);
        }
    }
    None
}

/// Builds a value and counts what it takes: an alias is a jump for the parser, and a copy here.
#[derive(Clone, Copy)]
struct Build<'a> {
    left: &'a Cell<usize>,
}

impl Build<'_> {
    fn of<T>(text: &str, build: impl FnOnce(Build<'_>) -> T) -> T {
        // An escape sequence can be shorter than what it stands for, but by less than a half.
        let left = Cell::new(text.len().saturating_mul(2).saturating_add(MOST_EXPANSION_BYTES));
        build(Build { left: &left })
    }

    fn spend<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes.saturating_add(1));
        self.left
            .set(left.ok_or_else(|| E::custom("its aliases make it too large"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(value.into())
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.spend(0)?;
        Ok(value.into())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.spend(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.spend(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("a tag of its own has no meaning in a manifest"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut list = Vec::new();
        while let Some(value) = access.next_element_seed(self)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut map = Map::new();
        let mut inherited = Map::new();
        while let Some(key) = access.next_key_seed(self)? {
            let key = key_of(key).map_err(A::Error::custom)?;
            let value = access.next_value_seed(self)?;
            if key == "<<" {
                inherit(&mut inherited, value).map_err(A::Error::custom)?;
            } else if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{key}` stands there twice")));
            } else {
                map.insert(key, value);
            }
        }
        for (key, value) in inherited {
            map.entry(key).or_insert(value);
        }
        Ok(Value::Object(map))
    }
}

/// A merge key (<https://yaml.org/type/merge.html>): what stands there already wins, and of several mappings the first.
/// Inner mappings are complete before outer ones, so that a merge of a merge is one too.
fn inherit(map: &mut Map<String, Value>, from: Value) -> Result<(), &'static str> {
    let parents = match from {
        Value::Array(parents) => parents,
        parent => vec![parent],
    };
    for parent in parents {
        let Value::Object(parent) = parent else {
            return Err("`<<` can merge mappings only");
        };
        for (key, value) in parent {
            map.entry(key).or_insert(value);
        }
    }
    Ok(())
}

/// A mapping's key. kubectl makes texts of numbers and booleans too.
fn key_of(key: Value) -> Result<String, &'static str> {
    match key {
        Value::String(key) => Ok(key),
        Value::Bool(key) => Ok(key.to_string()),
        Value::Number(key) => Ok(key.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err("a mapping's key must be a text"),
    }
}
