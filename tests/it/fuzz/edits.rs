//! How an input of each target is made from the seeds.

use kube_lego_once::decide::inspection::MARKER;

use super::corpus::Corpus;
use super::mutate::{self, Rng};
use super::target::Input;

/// What manifests, JSON and the texts of the command line are made of.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "---\n", "...\n", "- ", ": ", "? ", "{", "}", "[", "]", ", ", "\"", "'", "|\n", ">-\n", "#", "\t", "  ", "\n",
    "\r\n", "&a ", "*a", "<<: *a", "<<: [*a, *a]", "!!binary ", "!!str ", "!x ", "%YAML 1.2\n", "~", "null", "true",
    "yes", "\"true\"", ".nan", "-.inf", "0x1f", "1e999", "18446744073709551616", "-9223372036854775809",
    "2024-05-01T10:00:00Z", "9999-12-30T22:00:00.999999999Z", "-009999-01-02T01:59:59Z", "apiVersion: v1\n",
    "kind: List\n", "kind: Ingress\n", "kind: Secret\n", "items:\n", "metadata:\n", "data:\n", "stringData:\n",
    "spec:\n", "tls:\n", "hosts:\n", "secretName: a-tls\n", "networking.k8s.io/v1", "extensions/v1beta1",
    "networking.k8s.io/v1beta1", "kubernetes.io/tls-acme", "kubernetes.io/tls", "kubernetes.io/ingress.class",
    "cert-manager.io/issuer", MARKER, "a.example", "*.a.example", "a-tls", "web", "contour", "gce", "{{ .Values.x }}",
    "\u{feff}", "\u{0}", "\u{7f}", "\u{2028}", "\u{1f512}", "e\u{301}", "\\u0000", "\\ud800", "\\", "/", "(", ")",
    " in (", " notin (", "!=", "==", "!", "https://", "letsencrypt", "-", ".", "*.", "::", "pending.",
    "/.well-known/acme-challenge", "deletionTimestamp", "namespace",
];
pub(super) fn any<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[rng.below(items.len())]
}

pub(super) fn edited_text(rng: &mut Rng, seeds: &[Vec<u8>]) -> Input {
    let mut text = any(rng, seeds).clone();
    let other = any(rng, seeds);
    mutate::bytes(rng, &mut text, WORDS, other);
    vec![text]
}

/// Mostly DER under intact PEM: see there. One part alone is edited more often than both.
pub fn edited_secret(corpus: &Corpus, rng: &mut Rng) -> Input {
    let mut secret = any(rng, &corpus.secrets).clone();
    let other = any(rng, &corpus.secrets).clone();
    for part in 0..2 {
        if !rng.percent(if part == 0 { 85 } else { 40 }) {
            continue;
        }
        if rng.percent(15) {
            let words = [
                "-----BEGIN ",
                "-----END ",
                "CERTIFICATE-----\n",
                "PRIVATE KEY-----\n",
                "EC ",
                "RSA ",
                "=",
                "\n",
                "\r\n",
            ];
            mutate::bytes(rng, &mut secret[part], &words, &other[part]);
            continue;
        }
        let mut blocks = mutate::pem_blocks(&secret[part]);
        let others = mutate::pem_blocks(&other[rng.below(2)]);
        if rng.percent(15) {
            blocks.extend(others.iter().cloned());
        }
        if blocks.is_empty() {
            continue;
        }
        let at = rng.below(blocks.len());
        let foreign = others.first().map(|(_, der)| der.as_slice()).unwrap_or_default();
        mutate::der(rng, &mut blocks[at].1, foreign);
        match rng.below(20) {
            0 => {
                blocks[at].0 = rng
                    .pick(&[
                        "CERTIFICATE",
                        "PRIVATE KEY",
                        "EC PRIVATE KEY",
                        "RSA PRIVATE KEY",
                        "X509 CRL",
                    ])
                    .into()
            }
            1 => blocks.rotate_left(at),
            _ => {}
        }
        secret[part] = mutate::pem(&blocks);
    }
    secret
}

/// A few objects, edited as values: every one of them is JSON.
pub(super) fn edited_objects(corpus: &Corpus, rng: &mut Rng) -> Input {
    let object = |rng: &mut Rng| {
        let mut object = any(rng, &corpus.objects).clone();
        for _ in 0..rng.below(4) {
            mutate::json(rng, &mut object, WORDS);
        }
        object.to_string().into_bytes()
    };
    (0..=rng.below(4)).map(|_| object(rng)).collect()
}
