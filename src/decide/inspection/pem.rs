//! PEM (RFC 7468) as the two libraries read it that most TLS servers are built on: Go's `encoding/pem` and OpenSSL.
//!
//! No PEM crate reads as either does: the accidents that one takes and another refuses (blanks at line ends, a byte order
//! mark, headers, what follows a broken block) are exactly what decides whether a server can load a Secret. Measured by
//! `tests/it/servers.rs`, which asks both libraries.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::{find, rfind};

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// What stands between `BEGIN ` and the dashes.
    pub(super) label: Vec<u8>,
    /// How many bytes of headers (RFC 1421) stand before the data.
    pub(super) header_bytes: usize,
    /// What the text encodes.
    pub(super) der: Vec<u8>,
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const LINE_END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

/// Both libraries take bits behind the last byte that are not zero.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut digits = Vec::with_capacity(text.len());
    for part in text.split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        digits.extend_from_slice(part);
    }
    BASE64.decode(digits).ok()
}

// Go.

/// The blocks that Go finds. It has no errors: it skips what is no block.
pub(super) fn go(mut text: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    while let Some((block, rest)) = go_block(text) {
        blocks.push(block);
        text = rest;
    }
    blocks
}

/// The next block, and what follows it. Each END line is tried with the last BEGIN line before it.
fn go_block(text: &[u8]) -> Option<(Block, &[u8])> {
    let mut from = 0;
    loop {
        let end = from + find(text.get(from..)?, LINE_END)?;
        let trailer = end + LINE_END.len();
        let begin = rfind(&text[from..end], BEGIN).map(|at| from + at);
        let Some(begin) = begin.filter(|at| *at == from || text[at - 1] == b'\n') else {
            from = trailer;
            continue;
        };
        match go_block_between(text, begin + BEGIN.len(), end, trailer) {
            Candidate::Block(block) => return Some((block, go_line(&text[trailer - 1..]).1)),
            Candidate::None => from = trailer,
            Candidate::GivenUp => return None,
        }
    }
}

enum Candidate {
    Block(Block),
    None,
    /// Go looks no further.
    GivenUp,
}

fn go_block_between(text: &[u8], begin: usize, end: usize, trailer: usize) -> Candidate {
    let (line, mut rest) = go_line(&text[begin..]);
    let body_at = |rest: &[u8]| text.len() - rest.len();
    let Some(label) = line.strip_suffix(DASHES) else {
        return Candidate::None;
    };
    let first = body_at(rest);
    loop {
        if rest.is_empty() {
            return Candidate::GivenUp;
        }
        let (line, next) = go_line(rest);
        if !line.contains(&b':') {
            break;
        }
        rest = next;
    }
    let body = body_at(rest);
    if body > trailer {
        return Candidate::GivenUp;
    }
    if body > first && body > end {
        return Candidate::None;
    }
    let closed = text[trailer..]
        .strip_prefix(label)
        .and_then(|rest| rest.strip_prefix(DASHES))
        .is_some_and(|rest| go_line(rest).0.is_empty());
    if !closed {
        return Candidate::None;
    }
    match decode(text.get(body..end).unwrap_or_default()) {
        Some(der) => Candidate::Block(Block {
            label: label.to_vec(),
            header_bytes: body - first,
            der,
        }),
        None => Candidate::None,
    }
}

/// The first line without blanks at its end, and what follows it.
fn go_line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match text.iter().position(|byte| *byte == b'\n') {
        Some(at) => (text[..at].strip_suffix(b"\r").unwrap_or(&text[..at]), &text[at + 1..]),
        None => (text, &[][..]),
    };
    let blanks = line.iter().rev().take_while(|byte| b" \t".contains(byte)).count();
    (&line[..line.len() - blanks], rest)
}

// OpenSSL.

/// Reads block after block as OpenSSL does: an error ends a certificate file, whatever it is about.
pub(super) struct OpenSsl<'a>(&'a [u8]);

/// A byte order mark (of UTF-8) is skipped wherever a search for a block begins.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Longer lines come in pieces of this size.
const LINE_BYTES: usize = 254;
/// The lines of a block that has headers, or a blank line in their place.
const STRICT_LINE_BYTES: usize = 64;

impl<'a> OpenSsl<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// A line without what OpenSSL cuts off its end: everything up to the blank, and, where `char` is signed, all that is no
    /// ASCII. The second says whether the line goes on in the next piece.
    fn line(&mut self) -> Option<(&'a [u8], bool)> {
        let piece = &self.0[..self.0.len().min(LINE_BYTES)];
        let size = piece
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(piece.len(), |at| at + 1);
        if size == 0 {
            return None;
        }
        let (line, rest) = self.0.split_at(size);
        self.0 = rest;
        let goes_on = size == LINE_BYTES && !line.ends_with(b"\n");
        Some((trimmed(line), goes_on))
    }

    fn begin(&mut self) -> Option<&'a [u8]> {
        if self.0.len() > BYTE_ORDER_MARK.len() {
            self.0 = self.0.strip_prefix(BYTE_ORDER_MARK).unwrap_or(self.0);
        }
        loop {
            let (line, _) = self.line()?;
            let label = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES));
            if label.is_some() {
                return label;
            }
        }
    }

    fn block(&mut self, label: &[u8]) -> Result<Block, &'static str> {
        let (mut header, mut data) = (Vec::new(), Vec::new());
        let (mut in_header, mut behind_header, mut last, mut went_on) = (false, false, false, false);
        loop {
            let Some((line, goes_on)) = self.line() else {
                return Err("a block has no END line");
            };
            let continued = std::mem::replace(&mut went_on, goes_on);
            in_header |= !behind_header && line.contains(&b':');
            if line.is_empty() {
                match (continued, behind_header) {
                    (true, _) => {}
                    (false, true) => return Err("a block has two blank lines"),
                    (false, false) => {
                        behind_header = true;
                        header = std::mem::take(&mut data);
                    }
                }
                continue;
            }
            if let Some(rest) = line.strip_prefix(END) {
                if rest.strip_prefix(label) != Some(DASHES) {
                    return Err("an END line has another label than its BEGIN line, or text behind it");
                }
                break;
            }
            if last || (behind_header && line.len() > STRICT_LINE_BYTES) {
                return Err("a block has blank lines and lines of different lengths");
            }
            last = behind_header && line.len() < STRICT_LINE_BYTES;
            data.extend_from_slice(line.split(|byte| *byte == 0).next().unwrap_or_default());
            data.push(b'\n');
        }
        if in_header && !behind_header {
            header = std::mem::take(&mut data);
        }
        // A dash ends the data, whatever follows it.
        let data = data.split(|byte| *byte == b'-').next().unwrap_or_default();
        match decode(data) {
            None => Err("a block is no base64"),
            Some(der) if der.is_empty() => Err("a block is empty"),
            Some(der) => Ok(Block {
                label: label.to_vec(),
                header_bytes: header.len(),
                der,
            }),
        }
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    let cut = line.iter().rev().take_while(|byte| **byte <= b' ' || **byte >= 0x80);
    &line[..line.len() - cut.count()]
}

impl Iterator for OpenSsl<'_> {
    type Item = Result<Block, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let label = self.begin()?;
        Some(self.block(label))
    }
}
