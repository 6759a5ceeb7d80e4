use super::*;

#[test]
fn a_wrong_pattern_has_an_error_that_names_the_part() {
    for (pattern, expected) in [
        ("", "not JSON"),
        ("[]", "a pattern is an object"),
        ("{}", "at least one field"),
        (
            r#"{"detail":{"state":"running"}}"#,
            r#"detail.state: the values to match are an array: ["running"]"#,
        ),
        (r#"{"a":[]}"#, "a: an empty array matches nothing"),
        (r#"{"a":[[1]]}"#, "a: the values to match are not arrays"),
        (
            r#"{"a":[{"prefix":"x","suffix":"y"}]}"#,
            "a: a comparison has one operator",
        ),
        (
            r#"{"a":[{"contains":"x"}]}"#,
            r#"a: "contains" is not a comparison; allowed: anything-but, cidr"#,
        ),
        (r#"{"a":[{"prefix":1}]}"#, "a: prefix takes a string"),
        (r#"{"a":[{"prefix":{"x":"y"}}]}"#, "a: prefix takes a string or"),
        (r#"{"a":[{"exists":"true"}]}"#, "a: exists takes true or false"),
        (r#"{"a":[{"numeric":[">"]}]}"#, "a: numeric takes one or two pairs"),
        (r#"{"a":[{"numeric":[">","1"]}]}"#, "a: numeric takes one or two pairs"),
        (r#"{"a":[{"numeric":[]}]}"#, "a: numeric takes one or two pairs"),
        (r#"{"a":[{"cidr":"10.0.0.0/33"}]}"#, "a: cidr takes a block"),
        (r#"{"a":[{"anything-but":[]}]}"#, "a: anything-but takes"),
        (r#"{"a":[{"anything-but":null}]}"#, "a: anything-but takes"),
        (r#"{"a":[{"wildcard":"a**"}]}"#, "a: wildcard takes no two asterisks"),
        (r#"{"a":[{"wildcard":"\\n"}]}"#, "a: a backslash in wildcard"),
        (r#"{"a":[1],"a":[2]}"#, "a: the pattern names this field twice"),
        (r#"{"$or":[{"a":[1]}]}"#, "$or: $or takes at least two patterns"),
        (
            r#"{"$or":[{"a":1},{"b":[1]}]}"#,
            "$or.a: the values to match are an array",
        ),
    ] {
        let error = pattern.parse::<EventPattern>().unwrap_err().to_string();
        assert!(error.contains(expected), "{pattern}: {error}");
    }
    let deep = format!(r#"{}{{"a":[1]}}{}"#, r#"{"a":"#.repeat(40), "}".repeat(40));
    assert!(
        deep.parse::<EventPattern>()
            .unwrap_err()
            .to_string()
            .contains("more than 32 levels")
    );
}
