//! The short form of fuzzing: each target with the corpus, with damaged inputs of the corpus, and
//! with random inputs. The inputs are the same in each run; `PROPTEST_CASES` sets their number.
//!
//! `make fuzz-native` is the long form.
#![forbid(unsafe_code)]

use forebay_fuzz::{rows, rules, scanner};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngSeed, TestRunner};
use std::fs;
use std::path::Path;
use std::thread;

/// For documents of 1,024 levels, which a slow implementation reads by recursion.
const STACK_BYTES: usize = 64 * 1_024 * 1_024;
/// The targets are fast: 8 times the default of proptest takes a second.
const CASES_FACTOR: u32 = 8;
const SEED: u64 = 20_260_301;
type Check = fn(&[u8]);
const TARGETS: [(&str, Check); 3] = [
    ("scanner", scanner::check),
    ("rules", rules::check),
    ("rows", rows::check),
];
const TOKENS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "null",
    "true",
    "NaN",
    "-Infinity",
    "1e308",
    "-0",
    "1E+5",
    " ",
    "\u{0}",
    "é",
    "{\"a\":1}",
    "\"type\":\"page\",",
    "\u{7f}",
];

/// The inputs of a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("an input"))
        .collect()
}

fn with_large_stack(run: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs *check* with inputs of *strategy*. An input that fails is made smaller, and printed.
fn run<S: Strategy>(strategy: &S, check: impl Fn(S::Value)) {
    let default = ProptestConfig::default();
    let config = ProptestConfig {
        cases: CASES_FACTOR * default.cases,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..default
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(strategy, |input| {
        check(input);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[derive(Clone, Debug)]
enum Edit {
    Replace(Index, u8),
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (any::<Index>(), select(&TOKENS[..])).prop_map(|(at, token)| Edit::Insert(at, token)),
        (any::<Index>(), 1..8_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        (any::<Index>(), 1..64_usize).prop_map(|(at, count)| Edit::Repeat(at, count)),
    ]
}

fn damage(input: &mut Vec<u8>, edit: &Edit) {
    let length = input.len();
    match edit {
        _ if length == 0 => {}
        Edit::Replace(at, byte) => input[at.index(length)] = *byte,
        Edit::Insert(at, token) => {
            let at = at.index(length + 1);
            input.splice(at..at, token.bytes());
        }
        Edit::Remove(at, count) => {
            let at = at.index(length);
            input.drain(at..length.min(at + count));
        }
        Edit::Repeat(at, count) => {
            let at = at.index(length);
            input.extend_from_within(at..length.min(at + count));
        }
    }
}

#[test]
fn no_input_of_the_corpus_has_a_difference() {
    with_large_stack(|| {
        for (name, check) in TARGETS {
            let inputs = corpus(name);
            assert!(inputs.len() > 20, "{name}");
            for input in &inputs {
                check(input);
            }
        }
    });
}

#[test]
fn no_damaged_input_has_a_difference() {
    with_large_stack(|| {
        for (name, check) in TARGETS {
            let inputs = corpus(name);
            run(&(any::<Index>(), vec(edit(), 1..6)), |(index, edits)| {
                let mut input = index.get(&inputs).clone();
                for edit in &edits {
                    damage(&mut input, edit);
                }
                check(&input);
            });
        }
    });
}

#[test]
fn no_random_input_has_a_difference() {
    with_large_stack(|| {
        for (_, check) in TARGETS {
            run(&vec(any::<u8>(), 0..600), |input| check(&input));
        }
    });
}
