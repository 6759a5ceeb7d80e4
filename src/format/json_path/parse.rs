//! Parses the text of a `JSONPath`.

use super::{JsonPath, Step};

/// The maximum length of a `JSONPath`, in bytes. It bounds the names and numbers in one step.
const LENGTH_MAX_BYTES: usize = 1000;
/// The maximum number of steps. Each step parses the value that the step before has selected, so the limit bounds the
/// time for a document and the depth of recursion.
const STEPS_MAX: usize = 32;
/// The characters that a name without quotes must not contain.
const RESERVED_CHARS: &[char] = &[
    '.', '[', ']', '\'', '"', '*', '?', '@', '$', '(', ')', ',', ':', ' ', '\t',
];

impl JsonPath {
    /// Parses a `JSONPath`. Returns `None` if `text` is not a valid `JSONPath`.
    pub fn parse(text: &str) -> Option<Self> {
        let steps = (text.len() <= LENGTH_MAX_BYTES).then(|| steps(text.strip_prefix('$')?))??;
        let text = text.to_owned();
        Some(Self { text, steps })
    }

    /// Splits a text before the first of the characters `ends` that is outside of brackets, or at its end.
    pub fn split_text<'t>(text: &'t str, ends: &[char]) -> (&'t str, &'t str) {
        text.split_at(end_of_path(text, ends))
    }
}

/// Returns the index of the first of the characters `ends` outside of brackets, or the length of the text.
fn end_of_path(text: &str, ends: &[char]) -> usize {
    let (mut quote, mut in_brackets, mut is_escaped) = (None, false, false);
    for (index, character) in text.char_indices() {
        match (quote, character) {
            _ if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') if in_brackets => quote = Some(character),
            (None, '[') => in_brackets = true,
            (None, ']') => in_brackets = false,
            (None, end) if !in_brackets && ends.contains(&end) => return index,
            _ => {}
        }
    }
    text.len()
}

fn steps(mut rest: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if matches!(steps.last(), Some(Step::Members(_))) || steps.len() == STEPS_MAX {
            return None;
        }
        let after_dot = rest.strip_prefix('.');
        let (step, after) = match after_dot.unwrap_or(rest).strip_prefix('[') {
            Some(inside) => brackets(inside)?,
            None => name(after_dot?)?,
        };
        steps.push(step);
        rest = after;
    }
    Some(steps)
}

fn name(text: &str) -> Option<(Step, &str)> {
    if let Some(after) = text.strip_prefix('*') {
        return Some((Step::All, after));
    }
    let (name, after) = text.split_at(text.find(RESERVED_CHARS).unwrap_or(text.len()));
    (!name.is_empty()).then(|| (Step::Member(name.to_owned()), after))
}

fn brackets(inside: &str) -> Option<(Step, &str)> {
    if inside.trim_start().starts_with(['\'', '"']) {
        return members(inside);
    }
    let (inside, after) = inside.split_once(']')?;
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let bound = |text: &str| match text.trim() {
        "" => Some(None),
        text => number(text).map(Some),
    };
    let step = match inside.split_once(':') {
        _ if inside.trim() == "*" => Step::All,
        Some((start, end)) => Step::Slice(bound(start)?, bound(end)?),
        None => match *inside.split(',').map(number).collect::<Option<Vec<_>>>()? {
            [number] => Step::Element(number),
            ref numbers => Step::Elements(numbers.to_vec()),
        },
    };
    Some((step, after))
}

fn members(mut rest: &str) -> Option<(Step, &str)> {
    let mut names = Vec::new();
    loop {
        let (name, after) = quoted(rest.trim_start())?;
        names.push(name);
        let after = after.trim_start();
        if let Some(after) = after.strip_prefix(']') {
            let several = names.len() > 1;
            let step = match names.pop() {
                Some(name) if !several => Step::Member(name),
                last => Step::Members(names.into_iter().chain(last).collect()),
            };
            return Some((step, after));
        }
        rest = after.strip_prefix(',')?;
    }
}

/// Parses a text in quotes. A backslash escapes a quote or a backslash. Returns the text and the rest after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut characters = text.chars();
    let quote = characters.next().filter(|it| matches!(it, '\'' | '"'))?;
    let mut name = String::new();
    loop {
        match characters.next()? {
            '\\' => name.push(characters.next().filter(|it| matches!(it, '\'' | '"' | '\\'))?),
            character if character == quote => return Some((name, characters.as_str())),
            character => name.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_outside_the_subset_is_rejected() {
        for text in [
            "",
            "amount",
            "$.",
            "$..a",
            "$.a.",
            "$[",
            "$[]",
            "$[a]",
            "$['a",
            "$['a'",
            "$['a',]",
            "$['a''b']",
            "$[1,]",
            "$[1:2:3]",
            "$[1.5]",
            "$[?(@.a)]",
            "$.a b",
            "$ .a",
            "$a",
            "$.*b",
            "$['a','b'].c",
            "$['a','b'][0]",
            "$['a',0]",
            "$[0,'a']",
            "$.a]",
            "$.$",
            "$['\\n']",
        ] {
            assert_eq!(JsonPath::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_has_up_to_32_steps_and_1000_bytes() {
        let steps =
            |count: usize| JsonPath::parse(&format!("${}", ".a[0]".repeat(count / 2) + &".a".repeat(count % 2)));
        assert!(steps(32).is_some());
        assert_eq!(steps(33), None);
        let bytes = |count: usize| JsonPath::parse(&format!("$.{}", "a".repeat(count - 2)));
        assert!(bytes(1000).is_some());
        assert_eq!(bytes(1001), None);
    }

    #[test]
    fn quoted_names_may_contain_any_character() {
        let path = JsonPath::parse(r#"$['it\'s, a [b]' , "c\\d"]"#).unwrap();
        let names = ["it's, a [b]", "c\\d"].map(str::to_owned).to_vec();
        assert_eq!(path.steps, [Step::Members(names)]);
    }

    #[test]
    fn a_text_is_split_only_outside_of_brackets() {
        for (text, ends, before) in [
            ("$['a,b\\']:'].c[1:2]:number,$.d", [',', ':'], "$['a,b\\']:'].c[1:2]"),
            ("$.a,$.b", [',', ':'], "$.a"),
            ("$.a", [',', ':'], "$.a"),
        ] {
            assert_eq!(JsonPath::split_text(text, &ends).0, before);
        }
    }
}
