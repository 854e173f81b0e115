//! A panic that a client can ask for, so that a test sees what one costs. In no build that serves.
#![forbid(unsafe_code)]

/// Asks for a panic while a body is scanned.
pub const IN_SCAN: &str = "panic in the scan, for a test";
/// Asks for a panic while a flush is prepared, before its transaction begins.
pub const IN_FLUSH: &str = "panic in the flush, for a test";
/// Asks for a panic while rows are written out; in a transaction its ids are in the ledger by then.
pub const IN_WRITE: &str = "panic in the write, for a test";

/// Panics when `bytes` hold the text that asks for it.
///
/// # Panics
/// When it is asked to: that is what it is for.
pub fn panic_if_asked(text: &str, bytes: &[u8]) {
    let is_asked = bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes());
    assert!(!is_asked, "{text}");
}
