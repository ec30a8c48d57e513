//! Digests by which values are compared that are not kept.

/// SHA-256 (FIPS 180-4).
pub type Digest = [u8; ring::digest::SHA256_OUTPUT_LEN];

/// SHA-256 over some values. Their lengths are part of it, so that no byte can move from one value to another unseen.
pub(super) fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
