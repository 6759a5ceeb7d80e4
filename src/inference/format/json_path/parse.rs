//! Text in, paths out.

use super::{Path, Step};

/// Longest path, in characters: as deep as a path can be, so deep goes what follows it.
const LENGTH_MAX: usize = 1000;
/// What a name without quotes does not hold.
const NOT_IN_NAMES: &[char] = &[
    '.', '[', ']', '\'', '"', '*', '?', '@', '$', '(', ')', ',', ':', ' ', '\t',
];

impl Path {
    /// Reads a path; `None` if it is none.
    pub fn read(text: &str) -> Option<Self> {
        let steps = (text.len() <= LENGTH_MAX).then(|| steps(text.strip_prefix('$')?))??;
        let text = text.to_owned();
        Some(Self { text, steps })
    }

    /// Reads paths with commas between them, one at least. A comma in brackets belongs to its path.
    pub fn read_list(text: &str) -> Option<Vec<Self>> {
        let mut paths = Vec::new();
        let mut rest = text;
        loop {
            let end = end_of_path(rest);
            paths.push(Self::read(rest.get(..end)?.trim())?);
            match rest.get(end..)?.strip_prefix(',') {
                Some(more) => rest = more,
                None => return Some(paths),
            }
        }
    }
}

/// Where the first comma outside brackets is, or the end.
fn end_of_path(text: &str) -> usize {
    let (mut quote, mut in_brackets, mut is_escaped) = (None, false, false);
    for (place, character) in text.char_indices() {
        match (quote, character) {
            _ if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') if in_brackets => quote = Some(character),
            (None, '[') => in_brackets = true,
            (None, ']') => in_brackets = false,
            (None, ',') if !in_brackets => return place,
            _ => {}
        }
    }
    text.len()
}

fn steps(mut rest: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if matches!(steps.last(), Some(Step::Members(_))) {
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
    let (name, after) = text.split_at(text.find(NOT_IN_NAMES).unwrap_or(text.len()));
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

/// A text in quotes, in which a backslash stands before a quote or a backslash.
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
    fn what_is_outside_the_subset_is_no_path() {
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
            assert_eq!(Path::read(text), None, "{text}");
        }
        assert_eq!(
            Path::read(&format!("${}", ".a".repeat(500))),
            None,
            "longer than allowed"
        );
    }

    #[test]
    fn names_in_quotes_may_hold_anything() {
        let path = Path::read(r#"$['it\'s, a [b]' , "c\\d"]"#).unwrap();
        let names = ["it's, a [b]", "c\\d"].map(str::to_owned).to_vec();
        assert_eq!(path.steps, [Step::Members(names)]);
    }

    #[test]
    fn a_list_is_cut_at_its_own_commas() {
        let texts = |list| {
            let paths = Path::read_list(list)?;
            Some(paths.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let expected = ["$.amount", "$['a,b']", "$.x[0]"].map(str::to_owned).to_vec();
        assert_eq!(texts("$.amount, $['a,b'],$.x[0]"), Some(expected));
        for list in ["", "$.a,", ",$.a", "$.a,,$.b", "$.a;$.b", "$.a $.b"] {
            assert_eq!(texts(list), None, "{list}");
        }
    }
}
