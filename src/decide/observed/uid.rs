//! The identity of an object.

use std::fmt;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// `metadata.uid`, opaque to clients. All that API servers make are UUIDs, and a UUID is a quarter of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uid(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Uuid(Hyphenated),
    Other(Box<str>),
}

impl Uid {
    /// Whether nobody gave it one: it is from a file.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Form::Other(text) if text.is_empty())
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        let uuid = Uuid::try_parse(text).map(Uuid::hyphenated);
        // What is written otherwise (in capitals, in braces) must come out again as it was.
        let kept = uuid.ok().filter(|uuid| uuid.to_string() == text);
        Self(kept.map_or_else(|| Form::Other(text.into()), Form::Uuid))
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Uuid(uuid) => uuid.fmt(f),
            Form::Other(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for text in [
            "",
            "u",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6BA7B810-9DAD-11D1-80B4-00C04FD430C8",
            "6ba7b8109dad11d180b400c04fd430c8",
            "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
            "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        ] {
            assert_eq!(Uid::from(text).to_string(), text);
        }
        assert!(size_of::<Uid>() <= 24, "{}", size_of::<Uid>());
    }
}
