//! The table of accidents: pairs of files as real life leaves them, and who can load each.

use super::*;

/// Who can load a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takers {
    Both,
    Go,
    OpenSsl,
    Neither,
}
use Takers::{Both, Go, Neither, OpenSsl};

impl Takers {
    pub(super) fn of(go: bool, openssl: bool) -> Self {
        match (go, openssl) {
            (true, true) => Both,
            (true, false) => Go,
            (false, true) => OpenSsl,
            (false, false) => Neither,
        }
    }

    /// What the program would say: a key that it cannot check counts as the certificate's.
    pub(super) fn ours(inspection: &Inspection) -> Self {
        let Inspection::Certificate(facts) = inspection else {
            return Neither;
        };
        match (&facts.key, facts.refusal.as_ref().map(|refusal| refusal.library)) {
            (KeyMatch::Differs, _) => Neither,
            (_, Some(Library::Go)) => OpenSsl,
            (_, Some(Library::OpenSsl)) => Go,
            (_, None) => Both,
        }
    }
}

// The table.

pub(super) struct Accident {
    pub(super) name: String,
    pub(super) takers: Takers,
    pub(super) pair: Input,
}

pub(super) fn seed(name: &str) -> (String, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/corpus/secrets");
    let read = |kind: &str| fs::read_to_string(folder.join(format!("{name}.{kind}"))).expect("a file of the corpus");
    (read("crt"), read("key"))
}

/// A block's text under another label.
pub(super) fn labelled(text: &str, label: &str) -> String {
    let blocks = mutate::pem_blocks(text.as_bytes());
    let (_, der) = blocks.last().expect("a block");
    String::from_utf8(mutate::pem(&[(label.to_owned(), der.clone())])).expect("ASCII")
}

pub(super) fn block(label: &str, der: &[u8]) -> String {
    String::from_utf8(mutate::pem(&[(label.to_owned(), der.to_vec())])).expect("ASCII")
}

/// What happens to one file of a pair, whichever: the same for both kinds.
pub(super) fn accidents_of_text(text: &str) -> Vec<(&'static str, Takers, String)> {
    let (first, rest) = text.split_once('\n').expect("lines");
    let (second, _) = rest.split_once('\n').expect("lines");
    let each = |line_end: &str| text.replace('\n', line_end);
    let end = text.rfind("-----END").expect("an END line");
    // Go skips what follows a whole leaf.
    let cut_off = if text.matches("-----BEGIN").count() > 1 {
        Go
    } else {
        Neither
    };
    vec![
        ("CRLF", Both, each("\r\n")),
        ("CR alone as line end", Neither, each("\r")),
        ("CR twice at line ends", OpenSsl, each("\r\r\n")),
        ("a tab before each line end", Both, each("\t\n")),
        ("blanks before each line end", Both, each("  \n")),
        ("a no-break space before each line end", OpenSsl, each("\u{a0}\n")),
        ("blanks before each line", Neither, format!("  {}", each("\n  "))),
        ("no final newline", Both, text.trim_end().to_owned()),
        (
            "text before",
            Both,
            format!("Bag Attributes\n  friendlyName: x\n{text}"),
        ),
        ("text behind", Both, format!("{text}# the end\n")),
        (
            "text behind the last END on its line",
            cut_off,
            format!("{} # end\n", text.trim_end()),
        ),
        (
            "text before the first BEGIN on its line",
            Neither,
            format!("x{}", labelled(text, &label_of(text))),
        ),
        (
            "text behind the first BEGIN on its line",
            Neither,
            labelled(text, &label_of(text)).replacen("-----\n", "----- x\n", 1),
        ),
        ("a byte that is no base64", Neither, {
            let one = labelled(text, &label_of(text));
            one.replacen(&second[..4], "!!!!", 1)
                .replacen(&one.lines().nth(1).expect("data")[..4], "!!!!", 1)
        }),
        (
            "a blank line behind the first BEGIN line",
            Both,
            format!("{first}\n\n{rest}"),
        ),
        (
            "a broken block of another kind behind",
            Go,
            format!("{text}-----BEGIN X-----\n!\n-----END X-----\n"),
        ),
        ("all on one line", Neither, text.replace('\n', "")),
        ("all on one line with blanks", Neither, text.replace('\n', " ")),
        ("line ends as two characters", Neither, text.replace('\n', "\\n")),
        (
            "in quotes",
            Neither,
            format!("\"{}\"", labelled(text, &label_of(text)).trim_end()),
        ),
        ("cut off in its last block", cut_off, text[..end].to_owned()),
        ("encoded in base64 twice", Neither, base64(text)),
    ]
}

pub(super) fn label_of(text: &str) -> String {
    let (label, _) = mutate::pem_blocks(text.as_bytes()).pop().expect("a block");
    label
}

pub(super) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub(super) fn table() -> Vec<Accident> {
    let mut table = Vec::new();
    let mut add = |name: &str, takers, certificate: &str, key: &str| {
        table.push(Accident {
            name: name.to_owned(),
            takers,
            pair: vec![certificate.as_bytes().to_vec(), key.as_bytes().to_vec()],
        });
    };
    for name in [
        "p256-pkcs8",
        "p256-sec1",
        "p384-pkcs8",
        "p521-sec1",
        "ed25519",
        "rsa-pkcs1",
        "rsa-pkcs8",
        "rsa-1024",
    ] {
        let (certificate, key) = seed(name);
        add(name, Both, &certificate, &key);
        add(
            &format!("{name}: key before certificates in one file"),
            Both,
            &format!("{key}{certificate}"),
            &format!("{key}{certificate}"),
        );
        add(
            &format!("{name}: another's key"),
            Neither,
            &certificate,
            &seed(if name == "p256-sec1" { "p256-pkcs8" } else { "p256-sec1" }).1,
        );
        for (accident, takers, text) in accidents_of_text(&certificate) {
            add(&format!("{name}: certificate: {accident}"), takers, &text, &key);
        }
    }
    let (certificate, key) = seed("p256-pkcs8");
    let (_, other_key) = seed("rsa-pkcs8");
    let half = certificate.find("-----END").expect("an END line") + "-----END CERTIFICATE-----\n".len();
    let (leaf, issuer) = certificate.split_at(half);
    for (name, takers, certificate) in [
        (
            "no line end between two certificates",
            Neither,
            format!("{}{issuer}", leaf.trim_end()),
        ),
        (
            "two line ends between two certificates",
            Both,
            format!("{leaf}\n\n{issuer}"),
        ),
        ("leaf alone", Both, leaf.to_owned()),
        ("leaf twice", Both, format!("{leaf}{certificate}")),
        ("issuer before leaf", Neither, format!("{issuer}{leaf}")),
        ("a byte order mark", OpenSsl, format!("\u{feff}{leaf}")),
        ("two byte order marks", Neither, format!("\u{feff}\u{feff}{leaf}")),
        (
            "a byte order mark before a second block",
            Both,
            format!("{leaf}\u{feff}{issuer}"),
        ),
        ("label X509 CERTIFICATE", OpenSsl, labelled(leaf, "X509 CERTIFICATE")),
        (
            "label TRUSTED CERTIFICATE",
            OpenSsl,
            labelled(leaf, "TRUSTED CERTIFICATE"),
        ),
        ("label certificate", Neither, labelled(leaf, "certificate")),
        (
            "PEM headers",
            Go,
            leaf.replacen("-----\n", "-----\nSubject: a.example\n\n", 1),
        ),
        (
            "a truncated issuer",
            Go,
            format!("{leaf}{}", &issuer[..issuer.len() / 2]),
        ),
        (
            "a garbage issuer",
            Go,
            format!("{leaf}{}", block("CERTIFICATE", b"hello")),
        ),
        (
            "an empty issuer",
            Go,
            format!("{leaf}-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        ),
        (
            "an empty leaf",
            Neither,
            format!("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n{leaf}"),
        ),
        (
            "a garbage leaf",
            Neither,
            format!("{}{leaf}", block("CERTIFICATE", b"hello")),
        ),
        (
            "parameters before the leaf",
            Both,
            format!("{}{leaf}", block("DH PARAMETERS", b"hello")),
        ),
        (
            "an empty block before the leaf",
            Go,
            format!("-----BEGIN X-----\n-----END X-----\n{leaf}"),
        ),
        ("BEGIN twice", Go, format!("-----BEGIN CERTIFICATE-----\n{leaf}")),
        (
            "END of another label",
            Neither,
            leaf.replace("END CERTIFICATE", "END CERT"),
        ),
        ("a byte behind the leaf's DER", Neither, behind(leaf, b"\0")),
        (
            "a byte behind the issuer's DER",
            Both,
            format!("{leaf}{}", behind(issuer, b"\0")),
        ),
        (
            "a blank line within the leaf",
            Go,
            format!("{}\n\n{}", &leaf[..200], &leaf[200..]),
        ),
        (
            "DER without PEM",
            Neither,
            String::from_utf8_lossy(&mutate::pem_blocks(leaf.as_bytes())[0].1).into_owned(),
        ),
        ("a request instead", Neither, labelled(leaf, "CERTIFICATE REQUEST")),
        ("lines of 76", Both, one_line(leaf, 76)),
        ("data in one line", Both, one_line(leaf, 100_000)),
        ("nothing but a comment", Neither, "# replace me\n".into()),
    ] {
        add(&format!("certificate: {name}"), takers, &certificate, &key);
    }
    for (name, takers, key) in [
        ("a byte order mark", OpenSsl, format!("\u{feff}{key}")),
        ("garbage inside", Neither, block("PRIVATE KEY", b"hello")),
        (
            "empty",
            Neither,
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n".into(),
        ),
        (
            "garbage before it",
            OpenSsl,
            format!("{}{key}", block("PRIVATE KEY", b"hello")),
        ),
        ("another before it", Neither, format!("{other_key}{key}")),
        ("another behind it", Both, format!("{key}{other_key}")),
        (
            "curve parameters before it",
            Both,
            format!(
                "{}{key}",
                block("EC PARAMETERS", b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")
            ),
        ),
        ("PKCS#8 under EC PRIVATE KEY", Both, labelled(&key, "EC PRIVATE KEY")),
        ("PKCS#8 under RSA PRIVATE KEY", Go, labelled(&key, "RSA PRIVATE KEY")),
        ("an unknown label", Go, labelled(&key, "MY PRIVATE KEY")),
        (
            "label ENCRYPTED PRIVATE KEY around a plain one",
            Both,
            labelled(&key, "ENCRYPTED PRIVATE KEY"),
        ),
        ("encrypted", Neither, seed("encrypted").1),
        (
            "PEM headers",
            Go,
            key.replacen("-----\n", "-----\nSubject: a.example\n\n", 1),
        ),
        ("encrypted by PEM headers", Neither, encrypted_by_headers(&other_key)),
        ("a byte behind its DER", Both, behind(&key, b"\0")),
        ("a public key instead", Neither, labelled(&key, "PUBLIC KEY")),
        ("a certificate instead", Neither, certificate.clone()),
    ] {
        add(&format!("key: {name}"), takers, &certificate, &key);
    }
    for (accident, takers, text) in accidents_of_text(&key) {
        // A broken block is skipped where a key is looked for.
        let takers = if takers == Go { Both } else { takers };
        add(&format!("key: {accident}"), takers, &certificate, &text);
    }
    let (sec1_certificate, sec1_key) = seed("p256-sec1");
    let (rsa_certificate, rsa_key) = seed("rsa-pkcs1");
    add(
        "SEC1 under RSA PRIVATE KEY",
        Go,
        &sec1_certificate,
        &labelled(&sec1_key, "RSA PRIVATE KEY"),
    );
    add(
        "SEC1 under PRIVATE KEY",
        Go,
        &sec1_certificate,
        &labelled(&sec1_key, "PRIVATE KEY"),
    );
    add(
        "PKCS#1 under PRIVATE KEY",
        Go,
        &rsa_certificate,
        &labelled(&rsa_key, "PRIVATE KEY"),
    );
    add(
        "PKCS#1 under EC PRIVATE KEY",
        Go,
        &rsa_certificate,
        &labelled(&rsa_key, "EC PRIVATE KEY"),
    );
    add(
        "a byte behind the DER of PKCS#1",
        OpenSsl,
        &rsa_certificate,
        &behind(&rsa_key, b"\0"),
    );
    for name in ["truncated", "swapped", "huge-lengths", "nested", "two-leaves", "empty"] {
        let (certificate, key) = seed(name);
        add(name, Neither, &certificate, &key);
    }
    for name in ["bare", "no-end", "text-before", "crlf"] {
        let (certificate, key) = seed(name);
        add(name, Both, &certificate, &key);
    }
    table
}

pub(super) fn behind(text: &str, more: &[u8]) -> String {
    let (label, der) = mutate::pem_blocks(text.as_bytes()).remove(0);
    block(&label, &[&*der, more].concat())
}

pub(super) fn encrypted_by_headers(key: &str) -> String {
    let key = labelled(key, "RSA PRIVATE KEY");
    key.replacen(
        "-----\n",
        "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n",
        1,
    )
}

pub(super) fn one_line(text: &str, width: usize) -> String {
    let (label, der) = mutate::pem_blocks(text.as_bytes()).remove(0);
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = data
        .as_bytes()
        .chunks(width)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
