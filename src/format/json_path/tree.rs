//! Several paths that are evaluated together, so that each object and array on the way is read once.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
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
    /// The next steps by name, sorted by [`order`].
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

    /// Returns the value of each path in the document, in the order of the list. The value is `None` if the path finds
    /// nothing.
    pub fn select<'j>(&self, document: &'j RawValue) -> Vec<Option<&'j str>> {
        let mut found = vec![None; self.paths.len()];
        self.root.collect(document.get(), &mut found);
        found
    }

    /// Does the same as [`select`](Self::select) for a document that is not parsed yet. Parsing it and selecting its
    /// members is one pass over the text instead of two. Returns `None` if the text is not an object, or if this cannot
    /// read it.
    pub fn select_members<'j>(&self, text: &'j [u8]) -> Option<Vec<Option<&'j str>>> {
        if !self.root.ends.is_empty() || !self.root.elements.is_empty() {
            return None;
        }
        let mut deserializer = serde_json::Deserializer::from_str(str::from_utf8(text).ok()?);
        let mut found = vec![None; self.paths.len()];
        let members = Members(&self.root.members, &mut found);
        members.deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some(found)
    }
}

impl Node {
    fn insert(&mut self, steps: &[Step], path: usize) {
        match steps.split_first() {
            None | Some((Step::All, [])) => self.ends.push(path),
            Some((Step::Member(name), rest)) => {
                child(&mut self.members, name.clone(), |one, other| order(one, other)).insert(rest, path);
            }
            Some((Step::Element(number), rest)) => child(&mut self.elements, *number, Ord::cmp).insert(rest, path),
            Some((Step::Members(_) | Step::Elements(_) | Step::Slice(..) | Step::All, _)) => {
                unreachable!("the path selects one value")
            }
        }
    }

    /// Removes the values of the paths that end here or below.
    fn clear(&self, found: &mut [Option<&str>]) {
        for path in &self.ends {
            if let Some(found) = found.get_mut(*path) {
                *found = None;
            }
        }
        let (members, elements) = (self.members.iter(), self.elements.iter());
        let children = members.map(|(_, child)| child).chain(elements.map(|(_, child)| child));
        children.for_each(|child| child.clear(found));
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
                let index = text(name).and_then(|name| find(&self.members, &name));
                if let Some(found) = index.and_then(|index| values.get_mut(index)) {
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

fn find(members: &[(String, Node)], name: &str) -> Option<usize> {
    members.binary_search_by(|(own, _)| order(own, name)).ok()
}

/// Compares names by their length first, because most names differ in length.
fn order(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// Reads an object, and sets the values of the paths that go on with these members.
struct Members<'n, 'f, 'j>(&'n [(String, Node)], &'f mut [Option<&'j str>]);

impl<'j> DeserializeSeed<'j> for Members<'_, '_, 'j> {
    type Value = ();

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'j> Visitor<'j> for Members<'_, '_, 'j> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(node) = members.next_key_seed(Name(self.0))? {
            match node {
                Some(node) => {
                    // If several members have the same name, the last one is used.
                    node.clear(self.1);
                    node.collect(members.next_value::<&RawValue>()?.get(), self.1);
                }
                None => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// Reads a name, and returns the node of the member with this name.
struct Name<'n>(&'n [(String, Node)]);

impl<'j, 'n> DeserializeSeed<'j> for Name<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Name<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(find(self.0, name)
            .and_then(|index| self.0.get(index))
            .map(|(_, node)| node))
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
fn child<K>(children: &mut Vec<(K, Node)>, key: K, order: fn(&K, &K) -> Ordering) -> &mut Node {
    let index = children.binary_search_by(|(own, _)| order(own, &key));
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
        if let Some(members) = tree.select_members(document.as_bytes()) {
            assert_eq!(members, found);
        }
        found
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

    #[test]
    fn a_text_whose_members_cannot_be_read_has_to_be_parsed_first() {
        let tree = tree(["$.a", "$.b.c"]);
        for text in [
            &b"[1]"[..],
            b"{\"a\":1",
            b"{\"a\":1}x",
            b"{\"a\":1,}",
            b"{\"\\ud800\":1}",
            b"\xFF",
            b"",
        ] {
            assert_eq!(tree.select_members(text), None, "{text:?}");
        }
        let text = br#" {"\u0061" : 1, "b":{"c":[ 2 ]}, "a" :{ }} "#;
        assert_eq!(tree.select_members(text), Some(vec![Some("{ }"), Some("[ 2 ]")]));
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
            let found = tree.select(raw);
            for (path, found) in tree.paths().zip(&found) {
                let alone = path.select(raw);
                prop_assert_eq!(*found, alone.as_deref(), "{}", path);
            }
            let has_only_members = document.starts_with('{') && paths.iter().all(|path| path.starts_with("$."));
            prop_assert_eq!(tree.select_members(document.as_bytes()), has_only_members.then_some(found));
        }
    }
}
