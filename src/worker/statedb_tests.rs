//! A state file survives, whatever happens to it.
#![allow(clippy::disallowed_methods)]

use super::*;

const AGE: Duration = Duration::from_secs(3600);

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second)
}

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("celeriac-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

/// T15.3: what was revoked is revoked after a restart, unless it has become too old.
#[test]
fn what_was_saved_is_there_again() {
    let path = path("statedb");
    let open = |now| StateDb::open(path.clone(), AGE, now).unwrap();
    let (mut state, saved) = open(at(0));
    assert_eq!((saved, state.clock()), (Saved::default(), 0));
    state.revoked("old", at(0));
    state.revoked_stamp("customer", &"x".into());
    state.revoked_stamp("customer", &7.into());
    state.revoked_stamp("customer", &"x".into());
    state.revoked("a \"quoted\"\nid", at(10));
    state.set_clock(42);
    drop(state);
    let (state, saved) = open(at(3605));
    assert_eq!(saved.revoked, [("a \"quoted\"\nid".to_owned(), at(10))]);
    let stamps = [
        ("customer".into(), "x".into()),
        ("customer".into(), 7.into()),
    ];
    assert_eq!(
        saved.stamps, stamps,
        "however old, as Celery keeps them, and each once"
    );
    assert_eq!(state.clock(), 42);
    drop(state);
    fs::remove_file(path).unwrap();
}

/// T15.3: a clock that is set back makes nobody's revocation void.
#[test]
fn what_was_revoked_in_the_future_counts_as_revoked_now() {
    let path = path("statedb-future");
    let (mut state, _) = StateDb::open(path.clone(), AGE, at(100)).unwrap();
    state.revoked("id", at(100));
    drop(state);
    let (state, saved) = StateDb::open(path.clone(), AGE, at(0)).unwrap();
    assert_eq!(saved.revoked.len(), 1);
    drop(state);
    fs::remove_file(path).unwrap();
}

/// T15.3: killed at any octet, it opens, and what was written before that is there.
#[test]
fn a_file_that_ends_anywhere_is_read_up_to_there() {
    let mut text = HEADER.to_owned();
    let mut ends = vec![];
    for number in 0..20 {
        text.push_str(&revoked_line(&format!("id-{number}"), at(number)));
        ends.push(text.len());
    }
    for length in 0..=text.len() {
        let read = read(&text.as_bytes()[..length]).unwrap();
        let whole = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(read.saved.revoked.len(), whole, "{length} octets");
        assert!(!read.damaged);
    }
}

#[test]
fn a_flipped_bit_costs_its_line_and_is_noticed() {
    let text = format!(
        "{HEADER}{}{}",
        revoked_line("a", at(0)),
        revoked_line("b", at(1))
    );
    for place in HEADER.len()..text.len() - 1 {
        let mut octets = text.clone().into_bytes();
        octets[place] ^= 1;
        let read = read(&octets).unwrap();
        assert!(read.damaged, "octet {place}");
        assert!(read.saved.revoked.len() <= 1);
    }
}

#[test]
fn a_file_of_another_program_is_not_touched() {
    let path = path("shelve");
    fs::write(&path, b"\x13\x57\x9a\xcegdbm").unwrap();
    let error = StateDb::open(path.clone(), AGE, at(0)).unwrap_err();
    assert!(
        error.to_string().contains("no state file of celeriac's"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"\x13\x57\x9a\xcegdbm");
    fs::remove_file(path).unwrap();
}

/// T15.3: what Celery has kept is taken over once, and its files are put aside.
#[test]
fn a_shelve_is_taken_over_once() {
    let (path, part) = (path("imported"), path("imported.db"));
    for file in [&path, &part] {
        fs::write(file, b"\x13\x57\x9a\xce").unwrap();
    }
    let shelve = Shelve {
        files: vec![path.clone(), part.clone()],
        revoked: vec!["a".into(), "b".into()],
        clock: 4711,
    };
    StateDb::import(&path, &shelve, at(5)).unwrap();
    let (state, saved) = StateDb::open(path.clone(), AGE, at(10)).unwrap();
    let expected = [("a".to_owned(), at(5)), ("b".to_owned(), at(5))];
    assert_eq!((&saved.revoked[..], state.clock()), (&expected[..], 4711));
    drop(state);
    assert!(!part.exists());
    for file in [beside(&path, "celery"), beside(&part, "celery")] {
        assert_eq!(fs::read(&file).unwrap(), b"\x13\x57\x9a\xce");
        fs::remove_file(file).unwrap();
    }
    fs::remove_file(path).unwrap();
}
