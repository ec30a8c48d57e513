//! One page of a list, read object by object: a page of 500 typed objects is several MiB, and one of them is a few KiB.

use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use serde::Deserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Gives each object of a page to `keep` as soon as it is read. Returns the token of the next page, where there is one.
pub(super) fn read<K: DeserializeOwned>(text: &str, keep: impl FnMut(K)) -> serde_json::Result<Option<String>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let metadata = reader.deserialize_map(List(Items(keep, PhantomData)))?;
    reader.end()?;
    Ok(metadata.continue_.filter(|token| !token.is_empty()))
}

/// A list (<https://kubernetes.io/docs/reference/using-api/api-concepts/#collections>): `metadata` and `items` in any order.
struct List<K, F>(Items<K, F>);

/// `items`: a sequence, or null.
struct Items<K, F>(F, PhantomData<fn(K)>);

impl<'de, K: DeserializeOwned, F: FnMut(K)> Visitor<'de> for List<K, F> {
    type Value = ListMeta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<ListMeta, A::Error> {
        let mut metadata = ListMeta::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => metadata = map.next_value()?,
                "items" => map.next_value_seed(&mut self.0)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(metadata)
    }
}

impl<'de, K: DeserializeOwned, F: FnMut(K)> DeserializeSeed<'de> for &mut Items<K, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, K: DeserializeOwned, F: FnMut(K)> Visitor<'de> for &mut Items<K, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the objects of a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<(), A::Error> {
        while let Some(object) = objects.next_element()? {
            (self.0)(object);
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_one_by_one_wherever_the_metadata_stands() {
        for (text, expected, token) in [
            (
                r#"{"metadata":{"continue":"t"},"items":[1,2]}"#,
                Some(vec![1, 2]),
                Some("t"),
            ),
            (r#"{"items":[3],"kind":"L","metadata":{}}"#, Some(vec![3]), None),
            (r#"{"items":null,"metadata":{"continue":""}}"#, Some(vec![]), None),
            (r#"{}"#, Some(vec![]), None),
            (r#"{"items":{}}"#, None, None),
            (r#"{"items":[1"#, None, None),
            (r#"[]"#, None, None),
            (r#"{"items":[1]} x"#, None, None),
        ] {
            let mut seen = Vec::new();
            let read = read(text, |number: i64| seen.push(number));
            match (read, expected) {
                (Ok(found), Some(expected)) => {
                    assert_eq!((seen, found.as_deref()), (expected, token), "{text}");
                }
                (Err(_), None) => {}
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }
}
