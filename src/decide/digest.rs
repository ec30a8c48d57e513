//! Digests by which values are compared that are not kept.

/// The first half of a SHA-256 (FIPS 180-4): as hard to meet by another value as an AES-128 key is to guess.
pub type Digest = [u8; ring::digest::SHA256_OUTPUT_LEN / 2];

/// The digest of some values. Their lengths are part of it, so that no byte can move from one value to another unseen.
pub(super) fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    let whole = context.finish();
    let (half, _) = whole.as_ref().split_at(digest.len());
    digest.copy_from_slice(half);
    digest
}

/// Bytes as text, two digits each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
