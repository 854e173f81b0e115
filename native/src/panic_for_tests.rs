//! Panics that a request can cause, for a test that a panic in Rust fails one request and does not
//! end the worker. Compiled only with the feature `panic-for-tests`.
#![forbid(unsafe_code)]

/// Causes a panic while a body is scanned.
pub const IN_SCAN: &str = "panic in the scan, for a test";
/// Causes a panic while a flush is prepared, before its transaction begins.
pub const IN_FLUSH: &str = "panic in the flush, for a test";
/// Causes a panic while rows are encoded. In a transaction, the ledger rows are written before
/// that.
pub const IN_WRITE: &str = "panic in the write, for a test";

/// Panics if *bytes* contain *text*.
///
/// # Panics
/// If *bytes* contain *text*.
pub fn panic_if_asked(text: &str, bytes: &[u8]) {
    let is_asked = bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes());
    assert!(!is_asked, "{text}");
}
