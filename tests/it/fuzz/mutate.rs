//! Inputs from seeds: edits of bytes and lines, of JSON values, and of DER below the PEM around it.
//!
//! An edit of PEM text hardly ever gets through base64, and one of DER hardly ever through the lengths around it. Edits here are
//! made where they hurt: in the tree of a certificate, with all lengths put right again, and sometimes with one length wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// More than this and a run would fuzz the allocator.
const MOST_BYTES: usize = 64 * 1024;
const MOST_DEPTH: usize = 40;

/// Xorshift64* (Marsaglia 2003, Vigna 2016): small, and the same on every machine, so that a number names an input.
pub struct Rng(u64);

impl Rng {
    /// Numbers next to each other give sequences that have nothing in common (the finalizer of SplitMix64).
    pub fn new(number: u64) -> Self {
        let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number under `bound`; 0 where there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound.max(1)
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// A piece of something that is `length` long; short ones more often.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let longest = if self.percent(80) { 16 } else { MOST_BYTES };
        let size = self.below((length - start).min(longest) + 1);
        start..start + size
    }
}

/// Makes a few edits. `words` are what this kind of text is made of; `other` is another text of its kind.
pub fn bytes(rng: &mut Rng, data: &mut Vec<u8>, words: &[&str], other: &[u8]) {
    for _ in 0..=rng.below(4) {
        edit_bytes(rng, data, words, other);
        data.truncate(MOST_BYTES);
    }
}

fn edit_bytes(rng: &mut Rng, data: &mut Vec<u8>, words: &[&str], other: &[u8]) {
    let range = rng.range(data.len());
    let piece = data[range.clone()].to_vec();
    let at = rng.below(data.len() + 1);
    match rng.below(12) {
        0 => {
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        1 => {
            if let Some(byte) = data.get_mut(at) {
                *byte = if rng.percent(50) {
                    rng.byte()
                } else {
                    *rng.pick(&[&0, &0x7f, &0x80, &0xff, &b'\n', &b'\t'])
                };
            }
        }
        2 => drop(data.drain(range)),
        3 => drop(data.splice(at..at, piece)),
        4 | 5 => {
            let word = rng.pick(words).bytes();
            drop(data.splice(at..at, word));
        }
        6 => {
            let word = rng.pick(words).bytes();
            drop(data.splice(range, word));
        }
        7 => {
            let word = rng.pick(words);
            let times = rng.below(MOST_BYTES / 8) / word.len().max(1);
            drop(
                data.splice(
                    at..at,
                    word.repeat(if rng.percent(70) { times.min(20) } else { times })
                        .into_bytes(),
                ),
            );
        }
        8 => {
            let from = rng.range(other.len());
            drop(data.splice(range, other[from].to_vec()));
        }
        9 if rng.percent(30) => data.truncate(at),
        _ => edit_lines(rng, data),
    }
}

fn edit_lines(rng: &mut Rng, data: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = data
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if lines.is_empty() {
        return;
    }
    let (one, two) = (rng.below(lines.len()), rng.below(lines.len()));
    match rng.below(4) {
        0 => drop(lines.remove(one)),
        1 => lines.insert(two, lines[one].clone()),
        2 => lines.swap(one, two),
        _ => {
            let spaces = vec![b' '; rng.below(6)];
            let indent = lines[one].iter().take_while(|byte| **byte == b' ').count();
            drop(lines[one].splice(..indent, spaces));
        }
    }
    *data = lines.concat();
}

/// Makes one edit somewhere in a JSON value. Types mostly stay: otherwise nothing behind the first wrong one is ever tried.
pub fn json(rng: &mut Rng, value: &mut Value, words: &[&str]) {
    let here = rng.percent(25);
    if here && rng.percent(10) {
        *value = scalar(rng, words);
        return;
    }
    match value {
        Value::Array(items) => {
            let at = rng.below(items.len());
            match items.get_mut(at) {
                Some(item) if !here => json(rng, item, words),
                Some(item) if rng.percent(60) => {
                    let mut copy = item.clone();
                    json(rng, &mut copy, words);
                    items.push(copy);
                }
                Some(_) => drop(items.remove(at)),
                None => items.push(scalar(rng, words)),
            }
        }
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let name = names.get(rng.below(names.len())).cloned().unwrap_or_default();
            match fields.get_mut(&name) {
                Some(field) if !here => json(rng, field, words),
                Some(_) if rng.percent(50) => drop(fields.remove(&name)),
                Some(field) => {
                    let copy = field.clone();
                    fields.insert(rng.pick(words).to_owned(), copy);
                }
                None => drop(fields.insert(rng.pick(words).to_owned(), scalar(rng, words))),
            }
        }
        Value::String(text) if rng.percent(60) => {
            let mut edited = std::mem::take(text).into_bytes();
            bytes(rng, &mut edited, words, b"");
            *text = String::from_utf8_lossy(&edited).into_owned();
        }
        Value::String(text) => rng.pick(words).clone_into(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => *value = scalar(rng, words),
    }
}

fn scalar(rng: &mut Rng, words: &[&str]) -> Value {
    match rng.below(8) {
        0 => Value::Null,
        1 => Value::Bool(rng.percent(50)),
        2 => rng.next().into(),
        3 => Value::from(-1),
        4 => Value::from(1e300),
        5 => Value::Array(Vec::new()),
        _ => Value::from(rng.pick(words)),
    }
}

/// The blocks of a PEM text: label and content. What is no base64 is no block.
pub fn pem_blocks(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(text);
    let block = |part: &str| {
        let (label, rest) = part.split_once("-----")?;
        let (body, _) = rest.split_once("-----END")?;
        let body: String = body.split_whitespace().collect();
        Some((label.to_owned(), STANDARD.decode(body).ok()?))
    };
    text.split("-----BEGIN ").skip(1).filter_map(block).collect()
}

/// Blocks as a PEM text.
pub fn pem(blocks: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (label, der) in blocks {
        text.extend(format!("-----BEGIN {label}-----\n").bytes());
        for line in STANDARD.encode(der).as_bytes().chunks(64) {
            text.extend(line);
            text.push(b'\n');
        }
        text.extend(format!("-----END {label}-----\n").bytes());
    }
    text
}

/// An element of DER (X.690): a tag, and content that is elements again or bytes.
#[derive(Clone)]
struct Element {
    tag: Vec<u8>,
    /// The unused bits of a BIT STRING that holds elements, and nothing else.
    prefix: Vec<u8>,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Bytes(Vec<u8>),
    Elements(Vec<Element>),
}

/// Edits of DER; `other` is where foreign elements come from.
pub fn der(rng: &mut Rng, data: &mut Vec<u8>, other: &[u8]) {
    if let Some(mut elements) = elements(data, 0) {
        let foreign = self::elements(other, 0).unwrap_or_default();
        for _ in 0..=rng.below(3) {
            let at = rng.below(count(&elements));
            let donor = nth(&foreign, rng.below(count(&foreign))).cloned();
            edit_nth(rng, &mut elements, at, donor);
        }
        *data = encode(&elements);
    }
    if rng.percent(15) {
        wrong_length(rng, data);
    }
    if rng.percent(10) {
        bytes(rng, data, &["\u{0}", "\u{1}\u{1}"], other);
    }
    data.truncate(MOST_BYTES);
}

fn elements(mut data: &[u8], depth: usize) -> Option<Vec<Element>> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let tag_length = if data[0] & 0x1f == 0x1f {
            2 + data[1..].iter().position(|byte| byte & 0x80 == 0)?
        } else {
            1
        };
        let (tag, rest) = data.split_at_checked(tag_length)?;
        let (length, rest) = match *rest.first()? {
            short @ 0..0x80 => (usize::from(short), &rest[1..]),
            long => {
                let (bytes, after) = rest[1..].split_at_checked(usize::from(long & 0x7f))?;
                let fits = (1..=3).contains(&bytes.len());
                (
                    fits.then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))?,
                    after,
                )
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        found.push(element(tag, content, depth));
        data = rest;
    }
    Some(found)
}

/// Strings of octets and bits often hold DER: extensions and keys live there.
fn element(tag: &[u8], content: &[u8], depth: usize) -> Element {
    let (prefix, inner) = content.split_at(usize::from(tag[0] == 3 && content.first() == Some(&0)));
    let holds = tag[0] & 0x20 != 0
        || ([3, 4].contains(&tag[0]) && inner.first().is_some_and(|byte| *byte == 0x30 || *byte == 4));
    let within = Some(inner)
        .filter(|_| holds && depth < MOST_DEPTH)
        .and_then(|inner| elements(inner, depth + 1));
    match within {
        Some(elements) => Element {
            tag: tag.to_vec(),
            prefix: prefix.to_vec(),
            content: Content::Elements(elements),
        },
        None => Element {
            tag: tag.to_vec(),
            prefix: Vec::new(),
            content: Content::Bytes(content.to_vec()),
        },
    }
}

fn encode(elements: &[Element]) -> Vec<u8> {
    let mut data = Vec::new();
    for element in elements {
        let mut content = element.prefix.clone();
        match &element.content {
            Content::Bytes(bytes) => content.extend(bytes),
            Content::Elements(elements) => content.extend(encode(elements)),
        }
        data.extend(&element.tag);
        match content.len() {
            short @ 0..0x80 => data.extend(u8::try_from(short)),
            long => {
                let bytes = long.to_be_bytes();
                let significant = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(0)..];
                data.extend(u8::try_from(significant.len()).map(|length| 0x80 | length));
                data.extend(significant);
            }
        }
        data.extend(content);
    }
    data
}

fn count(elements: &[Element]) -> usize {
    elements
        .iter()
        .map(|element| 1 + element.within().map_or(0, count))
        .sum()
}

impl Element {
    fn within(&self) -> Option<&[Element]> {
        match &self.content {
            Content::Elements(elements) => Some(elements),
            Content::Bytes(_) => None,
        }
    }
}

fn nth(elements: &[Element], mut at: usize) -> Option<&Element> {
    for element in elements {
        let size = count(std::slice::from_ref(element));
        match at {
            0 => return Some(element),
            _ if at < size => return nth(element.within()?, at - 1),
            _ => at -= size,
        }
    }
    None
}

fn edit_nth(rng: &mut Rng, elements: &mut Vec<Element>, mut at: usize, donor: Option<Element>) {
    for index in 0..elements.len() {
        let size = count(std::slice::from_ref(&elements[index]));
        if at == 0 {
            return edit(rng, elements, index, donor);
        }
        if at < size {
            return match &mut elements[index].content {
                Content::Elements(within) => edit_nth(rng, within, at - 1, donor),
                Content::Bytes(_) => {}
            };
        }
        at -= size;
    }
}

/// Times, names and numbers at the edges of what their types can say.
const CONTENTS: &[&[u8]] = &[
    b"",
    b"\x00",
    b"\xff",
    b"\x80\x00\x00\x00\x00\x00\x00\x00\x00",
    b"500101000000Z",
    b"491231235959Z",
    b"99991231235959Z",
    b"00000101000000Z",
    b"20260230000000Z",
    b"20261124120060Z",
    b"261124120000+1400",
    b"20261124120000.999999999Z",
    b"*.*",
    b"a\x00.example",
    b"\xc3\x28",
    b"(STAGING) ",
    b"\x55\x1d\x11",
    b"\x55\x1d\x23",
    b"\x2a\x86\x48\xce\x3d\x03\x01\x07",
];

fn edit(rng: &mut Rng, elements: &mut Vec<Element>, index: usize, donor: Option<Element>) {
    match rng.below(10) {
        0 => drop(elements.remove(index)),
        1 => elements.insert(index, elements[index].clone()),
        2 => {
            let copy = elements[index].clone();
            let most = MOST_BYTES / (1 + encode(std::slice::from_ref(&copy)).len());
            elements.extend(std::iter::repeat_n(copy, rng.below(most.min(40))));
        }
        3 => {
            let other = rng.below(elements.len());
            elements.swap(index, other);
        }
        4 => {
            elements[index].tag = vec![*rng.pick(&[
                &2, &3, &4, &6, &0x0c, &0x13, &0x17, &0x18, &0x30, &0x31, &0x82, &0xa0, &0xa3, &0x1f,
            ])]
        }
        5 => nest(rng, &mut elements[index]),
        6 | 7 => {
            if let Some(donor) = donor {
                elements[index] = donor;
            }
        }
        8 => elements[index].content = Content::Bytes(rng.pick(CONTENTS).to_vec()),
        _ => {
            let mut content = match &elements[index].content {
                Content::Bytes(bytes) => bytes.clone(),
                Content::Elements(elements) => encode(elements),
            };
            bytes(rng, &mut content, &["\u{0}", "a", "*.", "Z"], b"");
            elements[index].content = Content::Bytes(content);
        }
    }
}

fn nest(rng: &mut Rng, element: &mut Element) {
    for _ in 0..rng.below(60) {
        let within = Content::Elements(vec![element.clone()]);
        *element = Element {
            tag: vec![0x30],
            prefix: Vec::new(),
            content: within,
        };
    }
}

/// Puts a length where there probably is none, or none where there is one.
fn wrong_length(rng: &mut Rng, data: &mut Vec<u8>) {
    let lengths: &[&[u8]] = &[
        b"\x84\xff\xff\xff\xff",
        b"\x88\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80",
        b"\xff",
        b"\x82\x00\x01",
        b"\x00",
        b"\x7f",
    ];
    let at = if rng.percent(50) { 1 } else { rng.below(data.len()) };
    if at < data.len() {
        drop(data.splice(at..=at, rng.pick(lengths).iter().copied()));
    }
}
