//! What Go and OpenSSL say of a pair, and we.

use super::*;

/// Whether a checker takes a pair, and its line.
pub(super) type Said = (bool, String);

/// What a checker says of each pair.
pub(super) fn verdicts(mut checker: Command, pairs: &[Input]) -> Vec<Said> {
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

pub(super) fn go() -> Command {
    tool("key-pairs")
}

pub(super) fn openssl() -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/tools/key-pairs/openssl.py"));
    command
}

/// What the two libraries say of a pair, and we.
#[derive(Clone)]
pub(super) struct Judged {
    pub(super) theirs: Takers,
    pub(super) ours: Takers,
    /// We cannot compute on the key: such a pair is kept with a note, whatever is wrong with it.
    pub(super) unchecked: bool,
    /// What we read in it otherwise than Go, where both libraries take it.
    pub(super) otherwise: Option<String>,
    pub(super) why: String,
}

impl Judged {
    pub(super) fn new(pair: &Input, go: &Said, openssl: &Said) -> Self {
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
    pub(super) fn failure(&self) -> Option<String> {
        let takes = self.ours != Neither;
        let failure = match self.theirs {
            Both if !takes => "taken by both".into(),
            Neither if takes && !self.unchecked => "taken by neither".into(),
            _ => self.otherwise.clone()?,
        };
        Some(format!("{failure}: {}", self.why))
    }
}

pub(super) fn judged(pairs: &[Input]) -> Vec<Judged> {
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
pub(super) fn other_facts(inspection: &Inspection, leaf: &str) -> Option<String> {
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
        names.into_iter().map(Into::into).collect(),
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
