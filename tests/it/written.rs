//! What a report writes, as text.

pub(crate) fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    write(&mut text).expect("memory takes all");
    String::from_utf8(text).expect("UTF-8")
}
