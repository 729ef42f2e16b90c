//! Which step requires which: the boot order, the errors in it, and its drawing.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::{self, Write as _};

use crate::util::topological::{self, Cycle};

use super::step::Step;

/// The steps of a blueprint in boot order, without what they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<Node>,
}

/// One step as its graph sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The step's name.
    pub name: &'static str,
    /// What it requires, as it said.
    pub requires: Vec<&'static str>,
    /// Whether it comes after all others.
    pub last: bool,
    /// Whether it may be left out.
    pub conditional: bool,
}

impl Graph {
    /// Checks and orders `steps`: returns the graph, and for each place the step's place in `steps`.
    pub(super) fn of<C>(steps: &[Box<dyn Step<C>>]) -> Result<(Self, Vec<usize>), BlueprintError> {
        let nodes: Vec<Node> = steps.iter().map(|step| Node::of(step.as_ref())).collect();
        let mut places = HashMap::new();
        for (place, node) in nodes.iter().enumerate() {
            if places.insert(node.name, place).is_some() {
                return Err(BlueprintError::Duplicate { step: node.name });
            }
        }
        let edges = edges(&nodes, &places)?;
        let order = topological::sort(nodes.len(), &edges).map_err(|Cycle { path }| {
            BlueprintError::Cycle {
                path: path.iter().map(|&place| nodes[place].name).collect(),
            }
        })?;
        let nodes = order.iter().map(|&place| nodes[place].clone()).collect();
        Ok((Self { nodes }, order))
    }

    /// The steps in the order in which they start.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// This graph with all of `inner` in place of its last step's inside: the first step of `inner`
    /// hangs on the last one of `self`. `celery graph bootsteps` draws Worker and Consumer so.
    #[must_use]
    pub fn connected_with(&self, inner: &Self) -> Self {
        let mut nodes = self.nodes.clone();
        let mut inner = inner.nodes.clone();
        if let (Some(outer_last), Some(inner_first)) = (nodes.last(), inner.first_mut()) {
            inner_first.requires.push(outer_last.name);
        }
        nodes.extend(inner);
        Self { nodes }
    }

    /// The drawing of this graph for Graphviz, in the form of `celery graph bootsteps`.
    pub fn dot(&self) -> String {
        let mut text = String::from("digraph dependencies {\n");
        let last = self.nodes.iter().find(|node| node.last);
        let root = last.map_or_else(String::new, |node| format!(", root=\"{node}\""));
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            r#"    graph [shape="box", {LOOK}, bgcolor="mintcream"{root}]"#
        );
        for (place, node) in self.nodes.iter().enumerate() {
            let _ = writeln!(text, "    \"{node}\" [{}]", node.look());
            for required in self.required_by(place) {
                let look = if node.last { LAST_EDGE } else { EDGE };
                let _ = writeln!(text, "    \"{node}\" -> \"{required}\" [{look}]");
            }
        }
        text.push_str("}\n");
        text
    }

    /// What the step at `place` comes after: what it names, or all before it when it is the last.
    fn required_by(&self, place: usize) -> impl Iterator<Item = &Node> {
        let node = &self.nodes[place];
        // A connected graph holds two "last" steps; each comes last in its own part.
        let part = self.nodes[..place]
            .iter()
            .rposition(|other| other.last)
            .map_or(0, |at| at + 1);
        self.nodes
            .iter()
            .enumerate()
            .filter_map(move |(at, other)| {
                let required = node.requires.contains(&other.name)
                    || (node.last && (part..place).contains(&at));
                required.then_some(other)
            })
    }
}

/// The requirements as places in the list, those of a "last" step on all others included.
fn edges(
    nodes: &[Node],
    places: &HashMap<&'static str, usize>,
) -> Result<Vec<(usize, usize)>, BlueprintError> {
    let mut edges = Vec::new();
    let mut last: Option<usize> = None;
    for (place, node) in nodes.iter().enumerate() {
        for &requires in &node.requires {
            let unknown = BlueprintError::Unknown {
                step: node.name,
                requires,
            };
            edges.push((place, *places.get(requires).ok_or(unknown)?));
        }
        if node.last {
            if let Some(other) = last {
                return Err(BlueprintError::TwoLast {
                    steps: [nodes[other].name, node.name],
                });
            }
            last = Some(place);
            edges.extend(
                (0..nodes.len())
                    .filter(|&other| other != place)
                    .map(|o| (place, o)),
            );
        }
    }
    Ok(edges)
}

const LOOK: &str = r#"arrowhead="vee", style="filled", fontname="HelveticaNeue""#;
const EDGE: &str = r#"shape="box", arrowhead="vee", style="filled", fontname="HelveticaNeue", color="darkseagreen4", arrowcolor="black", arrowsize="0.7""#;
const LAST_EDGE: &str = r#"shape="box", arrowhead="none", style="filled", fontname="HelveticaNeue", color="darkseagreen3", arrowcolor="black", arrowsize="0.7""#;

impl Node {
    fn of<C>(step: &dyn Step<C>) -> Self {
        Self {
            name: step.name(),
            requires: step.requires().to_vec(),
            last: step.last(),
            conditional: step.conditional(),
        }
    }

    fn look(&self) -> String {
        if self.last {
            return format!(
                r#"shape="parallelogram", {LOOK}, color="slategray4", fillcolor="slategray3""#
            );
        }
        let (fill, line) = match self.requires.as_slice() {
            [] => ("palegreen1", "palegreen2"),
            _ => ("palegreen3", "palegreen4"),
        };
        format!(r#"shape="box", {LOOK}, fillcolor="{fill}", color="{line}""#)
    }
}

/// The name as Celery's drawings have it: `⧉Consumer` comes last, `∘Beat` may be left out.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (self.last, self.conditional) {
            (true, _) => "⧉",
            (false, true) => "∘",
            (false, false) => "",
        };
        write!(f, "{sign}{}", self.name)
    }
}

/// Why steps do not make a blueprint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlueprintError {
    /// Steps require each other in a circle.
    Cycle {
        /// Each step requires the next one, and the last requires the first.
        path: Vec<&'static str>,
    },
    /// Two steps have the same name.
    Duplicate {
        /// That name.
        step: &'static str,
    },
    /// Two steps want to come after all others.
    TwoLast {
        /// Their names, as listed.
        steps: [&'static str; 2],
    },
    /// A step requires one that is not listed.
    Unknown {
        /// The step that requires.
        step: &'static str,
        /// The name it gives.
        requires: &'static str,
    },
}

impl fmt::Display for BlueprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cycle { path } => {
                write!(f, "bootsteps require each other in a circle: ")?;
                path.iter()
                    .chain(path.first())
                    .enumerate()
                    .try_for_each(|(i, name)| {
                        let arrow = if i > 0 { " -> " } else { "" };
                        write!(f, "{arrow}{name}")
                    })
            }
            Self::Duplicate { step } => write!(f, "two bootsteps are named {step}"),
            Self::TwoLast {
                steps: [one, other],
            } => {
                write!(f, "bootsteps {one} and {other} both want to be the last")
            }
            Self::Unknown { step, requires } => {
                write!(f, "unknown bootstep: {requires} (required by {step})")
            }
        }
    }
}

impl Error for BlueprintError {}
