//! Replays the committed fuzz seeds on whatever compiler runs the tests, and holds the fuzz crate's lists together:
//! a target without a table entry, a manifest entry or a seed is a failure here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A target's body: takes any bytes, and panics when a law is broken.
type Body = fn(&[u8]);

/// Every target by name, sorted.
const TARGETS: &[(&str, Body)] = &[
    ("blueprint", celeriac::fuzzing::fuzz_blueprint),
    ("broker", celeriac::fuzzing::fuzz_broker),
    ("broker_url", celeriac::fuzzing::fuzz_broker_url),
    ("child_record", celeriac::fuzzing::fuzz_child_record),
    ("connection", celeriac::fuzzing::fuzz_connection),
    ("differential", celeriac::fuzzing::fuzz_differential),
    ("event", celeriac::fuzzing::fuzz_event),
    ("frame_decoder", celeriac::fuzzing::fuzz_frame_decoder),
    ("http_request", celeriac::fuzzing::fuzz_http_request),
    ("json", celeriac::fuzzing::fuzz_json),
    ("method", celeriac::fuzzing::fuzz_method),
    ("pidbox", celeriac::fuzzing::fuzz_pidbox),
    ("scheduler", celeriac::fuzzing::fuzz_scheduler),
    ("table", celeriac::fuzzing::fuzz_table),
    ("task_message", celeriac::fuzzing::fuzz_task_message),
    ("timer_wheel", celeriac::fuzzing::fuzz_timer_wheel),
];

fn fuzz_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Paths in a directory of `fuzz/`, sorted; empty when there is no such directory.
fn entries(path: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = listing
        .map(|entry| entry.expect("a readable directory").path())
        .collect();
    paths.sort();
    paths
}

/// File names without their extension.
fn stems(path: &Path) -> BTreeSet<String> {
    entries(path)
        .iter()
        .filter_map(|path| path.file_stem())
        .map(|stem| stem.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn every_seed_is_replayed() {
    let mut replayed = 0;
    for (name, body) in TARGETS {
        for seed in entries(&fuzz_directory().join("seeds").join(name)) {
            let data = fs::read(&seed).expect("a readable seed");
            eprintln!("{}", seed.display()); // shown when a body panics
            body(&data);
            replayed += 1;
        }
        body(&[]);
    }
    println!("{replayed} seeds of {} targets replayed", TARGETS.len());
}

#[test]
fn the_lists_of_targets_agree() {
    let here: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(here.len(), TARGETS.len(), "a name stands twice");
    assert_eq!(
        stems(&fuzz_directory().join("fuzz_targets")),
        here,
        "fuzz/fuzz_targets"
    );
    assert_eq!(stems(&fuzz_directory().join("seeds")), here, "fuzz/seeds");

    let manifest =
        fs::read_to_string(fuzz_directory().join("Cargo.toml")).expect("fuzz/Cargo.toml");
    let binaries: BTreeSet<String> = manifest
        .split("[[bin]]")
        .skip(1)
        .filter_map(|section| section.split_once("name = \"")?.1.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(binaries, here, "fuzz/Cargo.toml");
}

#[test]
fn seeds_are_few_and_small() {
    for (name, _) in TARGETS {
        let seeds = entries(&fuzz_directory().join("seeds").join(name));
        assert!(
            (1..=20).contains(&seeds.len()),
            "{name}: {} seeds",
            seeds.len()
        );
        for seed in seeds {
            let length = fs::metadata(&seed).expect("a readable seed").len();
            assert!(length <= 16 * 1024, "{}: {length} bytes", seed.display());
        }
    }
}
