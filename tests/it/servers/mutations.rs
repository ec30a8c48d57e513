//! Accidents at random: in the lines of a PEM text, and in the DER below it.

use super::*;

/// What is put at the end of a line, before one, or between two.
pub(super) const AT_LINE_ENDS: &[&str] = &[
    " ", "\t", "\r", "\r\r", "\u{a0}", "\u{b}", "x", ":", "-", "=", "-----", " # x", "\\",
];
pub(super) const BEFORE_LINES: &[&str] = &[" ", "\t", "\u{feff}", "x", "-", ">", "> ", "|", "\0"];
pub(super) const BETWEEN_LINES: &[&str] = &[
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
pub(super) const LABELS: &[&str] = &[
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
pub(super) fn edit_text(rng: &mut Rng, text: &mut Vec<u8>) {
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

pub(super) fn mutation(corpus: &Corpus, number: u64) -> Input {
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
