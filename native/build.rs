//! Gives the crate a fingerprint of its sources, so that a test can refuse a module built from others.

#![forbid(unsafe_code)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What the binary depends on besides `native/src`, relative to the root of the repository.
const MANIFESTS: [&str; 4] = [
    "Cargo.lock",
    "Cargo.toml",
    "native/Cargo.toml",
    "native/build.rs",
];

fn main() -> Result<(), Box<dyn Error>> {
    let native = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = native
        .parent()
        .ok_or("the crate lies below the repository's root")?;
    let mut paths: Vec<String> = MANIFESTS.iter().map(ToString::to_string).collect();
    rust_sources(root, &native.join("src"), &mut paths)?;
    paths.sort();

    let mut fingerprint = Fnv1a::new();
    for path in &paths {
        fingerprint.add(path.as_bytes());
        fingerprint.add(&[0]);
        fingerprint.add(&fs::read(root.join(path)).map_err(|fault| format!("{path}: {fault}"))?);
        fingerprint.add(&[0]);
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    // The folder too: a file that was added or removed changes the fingerprint.
    println!("cargo::rerun-if-changed={}", native.join("src").display());
    println!("cargo::rustc-env=SOURCE_FINGERPRINT={:016x}", fingerprint.0);
    Ok(())
}

fn rust_sources(root: &Path, folder: &Path, paths: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_sources(root, &path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root)?.to_string_lossy();
            paths.push(relative.replace('\\', "/"));
        }
    }
    Ok(())
}

/// FNV-1a of 64 bits: six lines here, and six in the test that checks it.
struct Fnv1a(u64);

impl Fnv1a {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
