//! A panic that a request can ask for. Compiled only with the feature `panic-for-tests`: no error
//! raised from Python shows that a panic in Rust costs one request, and not the worker.
#![forbid(unsafe_code)]

/// Panics while a body is scanned.
pub const IN_SCAN: &str = "panic in the scan, for a test";
/// Panics while a flush is prepared, before its transaction begins.
pub const IN_FLUSH: &str = "panic in the flush, for a test";
/// Panics while rows are written out; in a transaction the ledger has the rows' ids by then.
pub const IN_WRITE: &str = "panic in the write, for a test";

/// Panics when *bytes* contain *text*.
///
/// # Panics
/// As described.
pub fn panic_if_asked(text: &str, bytes: &[u8]) {
    let is_asked = bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes());
    assert!(!is_asked, "{text}");
}
