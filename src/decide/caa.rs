//! Whether the CAA records of a name let a CA sign it (RFC 8659).
//!
//! Only what the RFC says of every CA is judged: a record that names the CA allows it, whatever parameters follow the name.
//! What a parameter means (RFC 8657) is for the CA to say.

use std::fmt;

use super::name::DnsName;

/// Properties that say nothing of certificates for servers, or only whom to tell, and that CAs know. Of any other property with
/// the critical flag nobody can say that a CA knows it.
const OTHER_PROPERTIES: &[&str] = &[
    "issuewild",
    "iodef",
    "issuemail",
    "issuevmc",
    "contactemail",
    "contactphone",
];
/// Of a value, in a message.
const SHOWN: usize = 200;

/// A CAA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaRecord {
    /// The name that it stands at.
    pub owner: String,
    /// Whether a CA that does not know the property must not sign.
    pub critical: bool,
    /// The property.
    pub tag: String,
    /// What it says.
    pub value: String,
}

impl fmt::Display for CaaRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.critical { 128 } else { 0 };
        let value: String = self.value.chars().take(SHOWN).collect();
        let tag: String = self.tag.chars().take(SHOWN).collect();
        write!(f, "{flags} {} \"{}\"", tag.escape_debug(), value.escape_debug())
    }
}

/// Why a CA must not sign a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaRefusal {
    /// The record that forbids it; of several, the first.
    pub record: CaaRecord,
    /// Whether that is a property that the CA has to know.
    pub unknown_property: bool,
    /// By which names records know the CA.
    pub identities: Vec<String>,
}

impl fmt::Display for CaaRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            record,
            unknown_property,
            identities,
        } = self;
        let owner = &record.owner;
        if *unknown_property {
            return write!(
                f,
                "the CAA record `{record}` of `{owner}` has the critical flag and a tag that is not well known: a CA that does not know the tag must not sign"
            );
        }
        let identities: Vec<String> = identities.iter().map(|name| format!("`{name}`")).collect();
        write!(
            f,
            "the CAA record `{record}` of `{owner}` does not let this CA sign, which CAA records call {}",
            identities.join(" or ")
        )
    }
}

impl CaaRefusal {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        let owner = &self.record.owner;
        match (self.unknown_property, self.identities.first()) {
            (false, Some(identity)) => format!(
                "add the CAA record `0 issue \"{identity}\"` to `{owner}` in DNS, or order from a CA that is allowed there, with `--directory`"
            ),
            _ => format!("remove that CAA record of `{owner}` from DNS, or its critical flag (128)"),
        }
    }
}

/// The names whose CAA records may count for a host: itself, then each parent below the root (RFC 8659 section 3). The first of them
/// that has records is the one that counts.
pub fn climb(host: &DnsName) -> impl Iterator<Item = &str> {
    let lowest = host.as_str().trim_start_matches("*.");
    std::iter::successors(Some(lowest), |name| Some(name.split_once('.')?.1))
}

/// Whether a CA of these names may sign, as these records have it: all of one name. A CA that calls itself nothing is not asked about.
///
/// # Errors
///
/// The record that forbids it.
pub fn judge(records: &[CaaRecord], identities: &[String]) -> Result<(), CaaRefusal> {
    let refusal = |record: &CaaRecord, unknown_property| CaaRefusal {
        record: record.clone(),
        unknown_property,
        identities: identities.to_vec(),
    };
    let is = |record: &CaaRecord, tag: &str| record.tag.eq_ignore_ascii_case(tag);
    let unknown = |record: &&CaaRecord| {
        record.critical && !is(record, "issue") && !OTHER_PROPERTIES.iter().any(|known| is(record, known))
    };
    if identities.is_empty() {
        return Ok(());
    }
    if let Some(record) = records.iter().find(unknown) {
        return Err(refusal(record, true));
    }
    let mut issue = records.iter().filter(|record| is(record, "issue")).peekable();
    let Some(first) = issue.peek().copied() else {
        return Ok(());
    };
    let allows = |record: &CaaRecord| {
        let issuer = record.value.split(';').next().unwrap_or_default();
        // Blanks as the RFC has them. A value that is no name is as good as none: it equals no identity.
        let issuer = issuer.trim_matches([' ', '\t']);
        identities.iter().any(|identity| identity.eq_ignore_ascii_case(issuer))
    };
    match issue.any(allows) {
        true => Ok(()),
        false => Err(refusal(first, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(texts: &[&str]) -> Vec<CaaRecord> {
        let record = |text: &&str| {
            let mut parts = text.splitn(3, ' ');
            let mut next = || parts.next().expect("flags, tag, value").to_owned();
            CaaRecord {
                owner: "example.com".into(),
                critical: next() == "128",
                tag: next(),
                value: next().trim_matches('"').to_owned(),
            }
        };
        texts.iter().map(record).collect()
    }

    /// The records of RFC 8659 section 4, as the CA `ca1.example.net` has to read them.
    #[test]
    fn records_are_read_as_the_rfc_has_them() {
        for (texts, refused) in [
            // 4.2: one of two.
            (
                vec![r#"0 issue "ca1.example.net""#, r#"0 issue "ca2.example.org""#],
                None,
            ),
            (
                vec![r#"0 issue "ca2.example.org""#, r#"0 issue "ca1.example.net""#],
                None,
            ),
            (
                vec![r#"0 issue "ca2.example.org""#],
                Some(r#"`0 issue "ca2.example.org"`"#),
            ),
            // 4.2: nobody.
            (vec![r#"0 issue ";""#], Some(r#"`0 issue ";"`"#)),
            (vec![r#"0 issue """#], Some(r#"`0 issue ""`"#)),
            // 4.2: a value that is malformed is as good as nobody.
            (vec![r#"0 issue "%%%%%""#], Some(r#"`0 issue "%%%%%"`"#)),
            // 4.2: nobody, and somebody beside it, is somebody.
            (vec![r#"0 issue ";""#, r#"0 issue "ca1.example.net""#], None),
            // 4.2: parameters are the CA's own matter.
            (vec![r#"0 issue "ca1.example.net; account=230123""#], None),
            (vec![r#"0 issue "  ca1.example.net	;policy=ev""#], None),
            // 4.1, 4.2: neither tags nor names have a case.
            (vec![r#"0 ISSUE "CA1.Example.NET""#], None),
            // 4.3: only for wildcards.
            (vec![r#"0 issuewild ";""#], None),
            (vec![r#"0 issue "ca1.example.net""#, r#"0 issuewild ";""#], None),
            // 4.4: whom to tell.
            (vec![r#"0 iodef "mailto:security@example.com""#], None),
            // 4.5: a critical property that nobody knows; it forbids whatever else is there.
            (
                vec![r#"0 issue "ca1.example.net""#, r#"128 tbs "Unknown""#],
                Some(r#"`128 tbs "Unknown"`"#),
            ),
            (vec![r#"0 tbs "Unknown""#], None),
            (vec![r#"128 issue "ca1.example.net""#], None),
            (vec![r#"128 iodef "mailto:security@example.com""#], None),
            // No name that begins or ends like the CA's own is its own.
            (vec![r#"0 issue "example.net""#], Some("`ca1.example.net`")),
            (vec![r#"0 issue "x.ca1.example.net""#], Some("`ca1.example.net`")),
            (vec![], None),
        ] {
            let judged = judge(&records(&texts), &["ca1.example.net".into()]);
            let said = judged.map_err(|refusal| refusal.to_string());
            match refused {
                None => assert_eq!(said, Ok(()), "{texts:?}"),
                Some(words) => {
                    let said = said.expect_err(words);
                    assert!(said.contains(words) && said.contains("of `example.com`"), "{said}");
                }
            }
        }
    }

    #[test]
    fn a_ca_has_several_names_or_none() {
        let two = records(&[r#"0 issue "amazonaws.com""#]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(judge(&two, &names(&["amazon.com", "amazonaws.com"])), Ok(()));
        assert_eq!(judge(&two, &[]), Ok(()));
        assert_eq!(judge(&records(&[r#"128 tbs "x""#]), &[]), Ok(()));
        let refusal = judge(&two, &names(&["a.example", "b.example"])).expect_err("neither");
        assert!(refusal.to_string().ends_with("`a.example` or `b.example`"), "{refusal}");
        assert!(
            refusal.hint().contains(r#"`0 issue "a.example"` to `example.com`"#),
            "{}",
            refusal.hint()
        );
        let unknown = judge(&records(&[r#"128 tbs "x""#]), &names(&["a.example"])).expect_err("critical");
        assert!(unknown.hint().contains("critical flag"), "{}", unknown.hint());
    }

    #[test]
    fn every_name_above_a_host_is_climbed_but_the_root() {
        let climbed = |host: &str| {
            climb(&host.parse().expect("a name"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(climbed("x.y.example"), ["x.y.example", "y.example", "example"]);
        assert_eq!(climbed("*.example"), ["example"]);
    }

    #[test]
    fn a_hostile_record_is_shown_in_one_line() {
        let mut record = records(&["0 issue x"]).remove(0);
        record.value = "a\n\u{1b}[2J\"".repeat(1000);
        let shown = record.to_string();
        assert!(!shown.contains(['\n', '\u{1b}']) && shown.len() < 2000, "{shown}");
    }
}
