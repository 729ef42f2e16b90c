//! Shell patterns as Python's `fnmatch` reads them.

/// Whether `name` matches `pattern`: `*` is anything, `?` one character, `[a-z]` one of a set, `[!a-z]` one that
/// is not in it. A bracket that is never closed stands for itself. The case counts.
///
/// It takes time in proportion to the two lengths multiplied, whatever the pattern.
///
/// ```
/// use celeriac::util::glob::matches;
/// assert!(matches("w?@*.example.org", "w1@box.example.org"));
/// assert!(matches("celery@[!a-c]*", "celery@db1"));
/// assert!(!matches("celery@*", "Celery@db1"));
/// ```
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut here) = (0, 0);
    // Where to go on when what follows the last star does not fit: the star takes one character more.
    let mut last_star: Option<(usize, usize)> = None;
    while here < name.len() {
        if pattern.get(at) == Some(&'*') {
            last_star = Some((at, here));
            at += 1;
        } else if let Some(next) = one(&pattern, at, name[here]) {
            at = next;
            here += 1;
        } else if let Some((star, taken)) = &mut last_star {
            *taken += 1;
            (at, here) = (*star + 1, *taken);
        } else {
            return false;
        }
    }
    pattern.iter().skip(at).all(|letter| *letter == '*')
}

/// Where the pattern goes on if what stands at `at` fits this letter.
fn one(pattern: &[char], at: usize, letter: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match set(pattern, at + 1) {
            Some((negated, members, next)) => {
                (contains(members, letter) != negated).then_some(next)
            }
            None => (letter == '[').then_some(at + 1),
        },
        literal => (*literal == letter).then_some(at + 1),
    }
}

/// The set whose inside begins at `start`: whether it is negated, its members, and where the pattern goes on.
fn set(pattern: &[char], start: usize) -> Option<(bool, &[char], usize)> {
    let negated = pattern.get(start) == Some(&'!');
    let first = start + usize::from(negated);
    let rest = pattern.get(first..)?;
    // A closing bracket in the first place is a member.
    let length = rest.iter().skip(1).position(|letter| *letter == ']')? + 1;
    Some((negated, rest.get(..length)?, first + length + 1))
}

fn contains(members: &[char], letter: char) -> bool {
    let mut rest = members;
    while let [first, after @ ..] = rest {
        rest = match after {
            ['-', last, more @ ..] => {
                if (*first..=*last).contains(&letter) {
                    return true;
                }
                more
            }
            _ if *first == letter => return true,
            _ => after,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python's `fnmatch.fnmatchcase` answers.
    #[test]
    fn it_matches_as_python_does() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("***", "abc", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--b--", false),
            ("*.x", "a.x.x", true),
            ("?", "é", true),
            ("?", "", false),
            ("[]]", "]", true),
            ("[!]]", "]", false),
            ("[", "[", true),
            ("[a", "[a", true),
            ("[a-c]x", "bx", true),
            ("[a-]", "-", true),
            ("[c-a]", "b", false),
            ("ref@*", "ref@lab", true),
            ("ref@*", "xref@lab", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern:?} {name:?}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(200);
        assert!(!matches(&pattern, &"a".repeat(199)));
        assert!(!matches(&format!("{pattern}b"), &"a".repeat(2000)));
    }
}
