//! Digests by which values are compared that are not kept.

/// SHA-256 over some values. Their lengths are part of it, so that no byte can move from one value to another unseen.
pub(super) fn digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}
