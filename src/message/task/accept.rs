//! Which content types a worker takes.

use super::{InvalidTask, Refusal};

/// The content type of nearly every task.
pub const JSON: &str = "application/json";
/// What a message without content type is taken for.
pub(super) const DATA: &str = "application/data";

/// The setting `accept_content`, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    types: Vec<String>,
}

impl Accept {
    /// Accepts these serializers, each by its name or its MIME type.
    ///
    /// ```
    /// use celeriac::message::task::Accept;
    /// let accept = Accept::new(["json", "application/x-yaml"]);
    /// assert!(accept.allows("application/x-yaml") && !accept.allows("application/x-msgpack"));
    /// ```
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        Self {
            types: names
                .into_iter()
                .map(|name| mime_type(name.as_ref()).to_owned())
                .collect(),
        }
    }

    /// Whether messages of this content type are taken.
    pub fn allows(&self, content_type: &str) -> bool {
        self.types.iter().any(|accepted| accepted == content_type)
    }

    /// Why a content type is not taken. Plain data is trusted by Celery, but then not decoded, and
    /// so has never the shape of a task's body; with the serializer `auth` it is accepted.
    pub(super) fn refusal(&self, content_type: &str) -> Refusal {
        match content_type {
            DATA | "application/text" => InvalidTask::NotDecoded(content_type.into()).into(),
            other => Refusal::NotAccepted(other.into()),
        }
    }
}

/// JSON only, as Celery's default.
impl Default for Accept {
    fn default() -> Self {
        Self::new([JSON])
    }
}

/// kombu's names for serializers.
const NAMES: [(&str, &str); 5] = [
    ("auth", DATA),
    ("json", JSON),
    ("msgpack", "application/x-msgpack"),
    ("pickle", "application/x-python-serialize"),
    ("yaml", "application/x-yaml"),
];

/// What a serializer's name stands for; a MIME type stands for itself.
fn mime_type(name: &str) -> &str {
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map_or(name, |(_, mime_type)| mime_type)
}

/// The name of a serializer, or the MIME type if it has none.
pub(super) fn name_of(content_type: &str) -> &str {
    let known = NAMES.iter().find(|(_, known)| *known == content_type);
    known.map_or(content_type, |(name, _)| name)
}
