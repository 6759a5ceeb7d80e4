//! Several paths that are evaluated together, so that each object and array on the way is read once.

use serde_json::value::RawValue;

use super::{JsonPath, Step, pick};
use crate::format::lazy_json::{elements, members, text};

/// A list of `JSONPath`s, each to one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathTree {
    paths: Vec<JsonPath>,
    root: Node,
}

/// A step that several paths may have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    /// The indexes of the paths that end here.
    ends: Vec<usize>,
    /// The next steps by name, sorted by it.
    members: Vec<(String, Node)>,
    /// The next steps by number, sorted by it.
    elements: Vec<(i64, Node)>,
}

impl PathTree {
    /// Creates a tree of these paths. Each must be [singular](JsonPath::is_singular) or a
    /// [spread](JsonPath::is_spread). The value of a spread is the array or object itself.
    pub fn new(paths: Vec<JsonPath>) -> Self {
        let mut root = Node::default();
        for (index, path) in paths.iter().enumerate() {
            root.insert(&path.steps, index);
        }
        Self { paths, root }
    }

    /// Returns the paths, in the order of the list.
    pub fn paths(&self) -> impl Iterator<Item = &JsonPath> {
        self.paths.iter()
    }

    /// Returns each path with its value in the document, in the order of the list. The value is `None` if the path
    /// finds nothing.
    pub fn select<'t, 'j>(
        &'t self,
        document: &'j RawValue,
    ) -> impl Iterator<Item = (&'t JsonPath, Option<&'j str>)> + use<'t, 'j> {
        let mut found = vec![None; self.paths.len()];
        self.root.collect(document.get(), &mut found);
        self.paths.iter().zip(found)
    }
}

impl Node {
    fn insert(&mut self, steps: &[Step], path: usize) {
        match steps.split_first() {
            None | Some((Step::All, [])) => self.ends.push(path),
            Some((Step::Member(name), rest)) => child(&mut self.members, name.clone()).insert(rest, path),
            Some((Step::Element(number), rest)) => child(&mut self.elements, *number).insert(rest, path),
            Some((Step::Members(_) | Step::Elements(_) | Step::Slice(..) | Step::All, _)) => {
                unreachable!("the path selects one value")
            }
        }
    }

    /// Sets the values of the paths that end here or below.
    fn collect<'j>(&self, json: &'j str, found: &mut [Option<&'j str>]) {
        for path in &self.ends {
            if let Some(found) = found.get_mut(*path) {
                *found = Some(json);
            }
        }
        if !self.members.is_empty() {
            // If several members have the same name, the last one is used.
            let mut values = vec![None; self.members.len()];
            for (name, value) in members(json) {
                let index = text(name).map(|name| self.members.binary_search_by(|(own, _)| own.as_str().cmp(&name)));
                if let Some(found) = index.and_then(Result::ok).and_then(|index| values.get_mut(index)) {
                    *found = Some(value);
                }
            }
            collect_each(&self.members, values, found);
        }
        if !self.elements.is_empty() {
            let values = pick(|| elements(json), self.elements.iter().map(|(number, _)| number));
            collect_each(&self.elements, values, found);
        }
    }
}

/// Sets the values of the paths that go on with these children, which have these values.
fn collect_each<'j, K>(children: &[(K, Node)], values: Vec<Option<&'j str>>, found: &mut [Option<&'j str>]) {
    for ((_, child), value) in children.iter().zip(values) {
        if let Some(value) = value {
            child.collect(value, found);
        }
    }
}

/// Returns the child with this key, which is added if there is none.
fn child<K: Ord>(children: &mut Vec<(K, Node)>, key: K) -> &mut Node {
    let index = children.binary_search_by(|(own, _)| own.cmp(&key));
    let index = index.unwrap_or_else(|index| {
        children.insert(index, (key, Node::default()));
        index
    });
    &mut children.get_mut(index).expect("the child is at this index").1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree<'t>(paths: impl IntoIterator<Item = &'t str>) -> PathTree {
        PathTree::new(paths.into_iter().map(|path| JsonPath::parse(path).unwrap()).collect())
    }

    fn selected<'j>(tree: &PathTree, document: &'j str) -> Vec<Option<&'j str>> {
        let raw: &RawValue = serde_json::from_str(document).unwrap();
        let found = tree.select(raw);
        found.map(|(_, value)| value).collect()
    }

    #[test]
    fn paths_may_share_steps_and_end_anywhere() {
        let tree = tree("$.a.x,$.b[1],$.a,$['a']['y'],$.b[-1],$.b[9],$.a.x.z,$,$.a.x,$.b[*]".split(','));
        let document = r#"{"a":1,"b":[1.50,{}],"a":{"y":2.0,"x":"\u0041"}}"#;
        let expected = [
            Some(r#""\u0041""#),
            Some("{}"),
            Some(r#"{"y":2.0,"x":"\u0041"}"#),
            Some("2.0"),
            Some("{}"),
            None,
            None,
            Some(document),
            Some(r#""\u0041""#),
            Some("[1.50,{}]"),
        ];
        assert_eq!(selected(&tree, document), expected);
        assert_eq!(selected(&tree, "[1]")[..7], [None; 7]);
    }

    /// A document in which objects have members with equal names, and paths into it.
    fn documents() -> impl Strategy<Value = String> {
        let scalar = prop_oneof!["[0-9]", Just("\"s\"".to_owned())];
        scalar.prop_recursive(4, 40, 4, |value| {
            let member = ("[abc]", value.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
            prop_oneof![
                prop::collection::vec(value, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
                prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_tree_selects_the_same_as_each_path_alone(
            document in documents(),
            paths in prop::collection::vec("\\$(\\.[abc]|\\[-?[0-3]\\]){0,4}", 1..20),
        ) {
            let tree = tree(paths.iter().map(String::as_str));
            let raw: &RawValue = serde_json::from_str(&document).unwrap();
            for (path, found) in tree.select(raw) {
                let alone = path.select(raw);
                prop_assert_eq!(found, alone.as_deref(), "{}", path);
            }
        }
    }
}
