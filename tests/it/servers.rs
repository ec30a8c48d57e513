//! A Secret is judged as servers judge it: by what Go's `tls.X509KeyPair` and OpenSSL say of the same bytes.
//!
//! The table has the accidents of real life, each with who takes it. The mutations are numbered: `SERVERS_FIRST` and
//! `SERVERS_MUTATIONS` say which of them are tried, and what fails is printed with its number and written to `target/tmp/`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use jiff::Timestamp;
use kube_lego_once::decide::inspection::{Inspection, KeyMatch, Library, inspect};

use crate::fuzz::mutate::{self, Rng};
use crate::fuzz::{Corpus, Input, edited_secret};
use crate::scene::cluster;

/// As many as the issue asks for, in about 20 seconds on two cores.
const MUTATIONS: u64 = 100_000;

/// Who can load a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takers {
    Both,
    Go,
    OpenSsl,
    Neither,
}
use Takers::{Both, Go, Neither, OpenSsl};

impl Takers {
    fn of(go: bool, openssl: bool) -> Self {
        match (go, openssl) {
            (true, true) => Both,
            (true, false) => Go,
            (false, true) => OpenSsl,
            (false, false) => Neither,
        }
    }

    /// What the program would say: a key that it cannot check counts as the certificate's.
    fn ours(inspection: &Inspection) -> Self {
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

struct Accident {
    name: String,
    takers: Takers,
    pair: Input,
}

fn seed(name: &str) -> (String, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/corpus/secrets");
    let read = |kind: &str| fs::read_to_string(folder.join(format!("{name}.{kind}"))).expect("a file of the corpus");
    (read("crt"), read("key"))
}

/// A block's text under another label.
fn labelled(text: &str, label: &str) -> String {
    let blocks = mutate::pem_blocks(text.as_bytes());
    let (_, der) = blocks.last().expect("a block");
    String::from_utf8(mutate::pem(&[(label.to_owned(), der.clone())])).expect("ASCII")
}

fn block(label: &str, der: &[u8]) -> String {
    String::from_utf8(mutate::pem(&[(label.to_owned(), der.to_vec())])).expect("ASCII")
}

/// What happens to one file of a pair, whichever: the same for both kinds.
fn accidents_of_text(text: &str) -> Vec<(&'static str, Takers, String)> {
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

fn label_of(text: &str) -> String {
    let (label, _) = mutate::pem_blocks(text.as_bytes()).pop().expect("a block");
    label
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn table() -> Vec<Accident> {
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

fn behind(text: &str, more: &[u8]) -> String {
    let (label, der) = mutate::pem_blocks(text.as_bytes()).remove(0);
    block(&label, &[&*der, more].concat())
}

fn encrypted_by_headers(key: &str) -> String {
    let key = labelled(key, "RSA PRIVATE KEY");
    key.replacen(
        "-----\n",
        "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n",
        1,
    )
}

fn one_line(text: &str, width: usize) -> String {
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

#[test]
fn every_accident_of_the_table_is_judged_as_servers_judge_it() {
    let table = table();
    let wrong: Vec<_> = table
        .iter()
        .map(|accident| (accident, Takers::ours(&inspect(&accident.pair[0], &accident.pair[1]))))
        .filter(|(accident, ours)| accident.takers != *ours)
        .map(|(accident, ours)| {
            format!(
                "{}: taken by {:?}, judged as by {ours:?}",
                accident.name, accident.takers
            )
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        table.len(),
        wrong.join("\n")
    );
}

// The mutations.

/// What is put at the end of a line, before one, or between two.
const AT_LINE_ENDS: &[&str] = &[
    " ", "\t", "\r", "\r\r", "\u{a0}", "\u{b}", "x", ":", "-", "=", "-----", " # x", "\\",
];
const BEFORE_LINES: &[&str] = &[" ", "\t", "\u{feff}", "x", "-", ">", "> ", "|", "\0"];
const BETWEEN_LINES: &[&str] = &[
    "\n",
    " \n",
    "\r\n",
    "\u{feff}\n",
    "a: b\n",
    "a: b\n\n",
    "Proc-Type: 4,ENCRYPTED\n",
    "text\n",
    "-----BEGIN X-----\n",
    "-----END X-----\n",
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "-----BEGIN PRIVATE KEY-----\n",
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN X-----\nAAAA\n-----END X-----\n",
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    "----\n",
    "AAAA\n",
    "AA==\n",
    "=\n",
];
const LABELS: &[&str] = &[
    "CERTIFICATE",
    "X509 CERTIFICATE",
    "TRUSTED CERTIFICATE",
    "PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "X",
];

/// One accident somewhere in the lines of a PEM text. Half of them are near a BEGIN or an END: data is data.
fn edit_text(rng: &mut Rng, text: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = text
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let borders: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with(b"-----")).collect();
    let at = match borders.get(rng.below(borders.len().max(1))) {
        Some(border) if rng.percent(70) => (border + rng.below(3)).saturating_sub(1).min(lines.len() - 1),
        _ => rng.below(lines.len()),
    };
    let Some(line) = lines.get_mut(at) else { return };
    let end = line.len() - usize::from(line.ends_with(b"\n"));
    match rng.below(10) {
        0 | 1 => drop(line.splice(end..end, rng.pick(AT_LINE_ENDS).bytes())),
        2 => drop(line.splice(0..0, rng.pick(BEFORE_LINES).bytes())),
        3 | 4 => lines.insert(at, rng.pick(BETWEEN_LINES).as_bytes().to_vec()),
        5 => line.truncate(end),
        6 => drop(line.splice(end.., rng.pick(&["\r", "\r\n", "\n\n", "\\n", ""]).bytes())),
        7 => drop(lines.remove(at)),
        8 => lines.insert(at, lines[rng.below(lines.len())].clone()),
        _ => {
            let line = String::from_utf8_lossy(line).into_owned();
            let label = rng.pick(LABELS);
            let relabelled = ["-----BEGIN ", "-----END "]
                .iter()
                .find_map(|start| line.starts_with(start).then(|| format!("{start}{label}-----\n")));
            match relabelled {
                Some(relabelled) => lines[at] = relabelled.into_bytes(),
                None => lines[at].truncate(rng.below(line.len() + 1)),
            }
        }
    }
    *text = lines.concat();
}

fn mutation(corpus: &Corpus, number: u64) -> Input {
    let mut rng = Rng::new(number);
    // Below intact PEM, and of a key and its certificate at once: what the fuzzer does.
    if rng.percent(50) {
        return edited_secret(corpus, &mut rng);
    }
    let mut pair = corpus.secrets[rng.below(corpus.secrets.len())].clone();
    let part = usize::from(rng.percent(40));
    if rng.percent(3) {
        let mark = b"\xef\xbb\xbf".iter().copied();
        drop(pair[part].splice(0..0, mark));
    }
    for _ in 0..=rng.below(3) {
        edit_text(&mut rng, &mut pair[part]);
    }
    pair
}

// The servers' libraries.

/// Whether a checker takes a pair, and its line.
type Said = (bool, String);

/// What a checker says of each pair.
fn verdicts(mut checker: Command, pairs: &[Input]) -> Vec<Said> {
    let mut child = checker
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a checker");
    let mut input = BufWriter::new(child.stdin.take().expect("its input"));
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let verdicts: Vec<_> = thread::scope(|scope| {
        scope.spawn(move || {
            for file in pairs.iter().flatten() {
                let length = u32::try_from(file.len()).expect("a small file");
                input.write_all(&length.to_be_bytes()).expect("a checker that reads");
                input.write_all(file).expect("a checker that reads");
            }
        });
        output
            .lines()
            .map(|line| line.expect("a line"))
            .map(|line| (line.starts_with("yes"), line))
            .collect()
    });
    assert!(child.wait().expect("its end").success());
    assert_eq!(verdicts.len(), pairs.len(), "a verdict for each pair");
    verdicts
}

fn go() -> Command {
    Command::new(cluster()["bin"]["key-pairs"].as_str().expect("the checker in Go"))
}

fn openssl() -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/tools/key-pairs/openssl.py"));
    command
}

/// What the two libraries say of a pair, and we.
#[derive(Clone)]
struct Judged {
    theirs: Takers,
    ours: Takers,
    /// We cannot compute on the key: such a pair is kept with a note, whatever is wrong with it.
    unchecked: bool,
    /// What we read in it otherwise than Go, where both libraries take it.
    otherwise: Option<String>,
    why: String,
}

impl Judged {
    fn new(pair: &Input, go: &Said, openssl: &Said) -> Self {
        let inspection = inspect(&pair[0], &pair[1]);
        let (unchecked, ours) = match &inspection {
            Inspection::Certificate(facts) => (
                matches!(facts.key, KeyMatch::Unchecked(_)),
                format!("{:?}, {:?}", facts.key, facts.refusal),
            ),
            other => (false, format!("{other:?}")),
        };
        let leaf = go.1.strip_prefix("yes ").filter(|_| openssl.0);
        Self {
            theirs: Takers::of(go.0, openssl.0),
            ours: Takers::ours(&inspection),
            unchecked,
            otherwise: leaf.and_then(|leaf| other_facts(&inspection, leaf)),
            why: format!("we: {ours}; Go: {}; OpenSSL: {}", go.1, openssl.1),
        }
    }

    /// Why it is judged otherwise than by every server.
    fn failure(&self) -> Option<String> {
        let takes = self.ours != Neither;
        let failure = match self.theirs {
            Both if !takes => "taken by both".into(),
            Neither if takes && !self.unchecked => "taken by neither".into(),
            _ => self.otherwise.clone()?,
        };
        Some(format!("{failure}: {}", self.why))
    }
}

fn judged(pairs: &[Input]) -> Vec<Judged> {
    let (go, openssl) = thread::scope(|scope| {
        let go = scope.spawn(|| verdicts(go(), pairs));
        let openssl = verdicts(openssl(), pairs);
        (go.join().expect("Go's verdicts"), openssl)
    });
    let said = go.iter().zip(&openssl);
    let judge = |(pair, (go, openssl))| Judged::new(pair, go, openssl);
    pairs.iter().zip(said).map(judge).collect()
}

/// Where a pair that both libraries take says something else to us than to Go: what.
fn other_facts(inspection: &Inspection, leaf: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Leaf {
        version: u8,
        names: Option<BTreeSet<String>>,
        not_before: i64,
        not_after: i64,
    }
    let Inspection::Certificate(facts) = inspection else {
        return None;
    };
    let leaf: Leaf = serde_json::from_str(leaf).expect("JSON");
    let names: BTreeSet<_> = leaf
        .names
        .iter()
        .flatten()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    let saturated = |seconds: i64| seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let theirs = (
        names.into_iter().collect(),
        saturated(leaf.not_before),
        saturated(leaf.not_after),
    );
    let ours = (
        facts.names.clone(),
        facts.not_before.as_second(),
        facts.not_after.as_second(),
    );
    // Go looks for no names where the version says that there are no extensions; OpenSSL does.
    (leaf.version == 3 && theirs != ours).then(|| format!("{theirs:?} to Go, {ours:?} to us"))
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
#[ignore = "needs the test cluster"]
fn no_secret_is_judged_otherwise_than_by_every_server() {
    let table = table();
    let mut wrong = falsehoods(&table);
    let first = number("SERVERS_FIRST", 0);
    let numbers: Vec<u64> = (first..first + number("SERVERS_MUTATIONS", MUTATIONS)).collect();
    let corpus = Corpus::read();
    let (one, two) = numbers.split_at(numbers.len() / 2);
    let judged = thread::scope(|scope| {
        let one = scope.spawn(|| mutations_judged(&corpus, one));
        let two = mutations_judged(&corpus, two);
        [one.join().expect("one half"), two].concat()
    });
    let count = |what: &dyn Fn(&Judged) -> bool| judged.iter().filter(|(.., judged)| what(judged)).count();
    let mut otherwise = 0;
    for (number, judged) in &judged {
        if let Some(failure) = judged.failure() {
            otherwise += 1;
            let _ = writeln!(wrong, "mutation {number}: {failure}");
            keep(*number, &mutation(&corpus, *number));
        }
    }
    println!(
        "{} pairs and {} mutations, {otherwise} judged otherwise than by every server",
        table.len(),
        judged.len()
    );
    println!(
        "both take {}, Go alone {}, OpenSSL alone {}; of the rest {} are kept since their key cannot be checked; {} have a wrong note",
        count(&|judged| judged.theirs == Both),
        count(&|judged| judged.theirs == Go),
        count(&|judged| judged.theirs == OpenSsl),
        count(&|judged| judged.theirs == Neither && judged.unchecked && judged.ours != Neither),
        count(&|judged| judged.theirs != judged.ours),
    );
    assert!(wrong.is_empty(), "{wrong}");
}

/// Where the table is not what the libraries say.
fn falsehoods(table: &[Accident]) -> String {
    let pairs: Vec<Input> = table.iter().map(|accident| accident.pair.clone()).collect();
    let mut wrong = String::new();
    for (
        Accident { name, takers, .. },
        Judged {
            theirs, why, otherwise, ..
        },
    ) in table.iter().zip(judged(&pairs))
    {
        if *takers != theirs {
            let _ = writeln!(wrong, "{name}: {takers:?} in the table, {theirs:?} in truth: {why}");
        }
        if let Some(otherwise) = otherwise {
            let _ = writeln!(wrong, "{name}: {otherwise}");
        }
    }
    wrong
}

/// So many pairs are in memory at a time.
const CHUNK: usize = 5_000;

fn mutations_judged(corpus: &Corpus, numbers: &[u64]) -> Vec<(u64, Judged)> {
    let mut all = Vec::new();
    for numbers in numbers.chunks(CHUNK) {
        let pairs: Vec<Input> = numbers.iter().map(|number| mutation(corpus, *number)).collect();
        all.extend(numbers.iter().copied().zip(judged(&pairs)));
    }
    all
}

fn keep(number: u64, pair: &Input) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (file, kind) in pair.iter().zip(["crt", "key"]) {
        fs::write(folder.join(format!("servers-{number}.{kind}")), file).expect("a file in `target/tmp/`");
    }
}
