//! The examples of the user guide of `EventBridge`, and their edges.

use serde_json::value::RawValue;

use super::EventPattern;

mod conditions;

fn matches(pattern: &str, document: &str) -> bool {
    let pattern: EventPattern = pattern.parse().unwrap();
    pattern.matches(serde_json::from_str::<&RawValue>(document).unwrap().get())
}

/// Checks that the pattern matches each of the first documents and none of the others.
fn check(pattern: &str, matching: &[&str], others: &[&str]) {
    for document in matching {
        assert!(matches(pattern, document), "{pattern} matches {document}");
    }
    for document in others {
        assert!(!matches(pattern, document), "{pattern} does not match {document}");
    }
}

#[test]
fn all_fields_must_match_and_one_value_of_each() {
    check(
        r#"{"source":["aws.ec2"],"detail":{"state":["initializing","running"]}}"#,
        &[
            r#"{"source":"aws.ec2","detail":{"state":"running","other":1}}"#,
            r#"{"detail":{"state":"initializing"},"source":"aws.ec2"}"#,
            r#" { "source" : "aws.ec2" , "detail" : { "state" : "runn\u0069ng" } } "#,
        ],
        &[
            r#"{"source":"aws.ec2","detail":{"state":"stopped"}}"#,
            r#"{"source":"aws.ec2"}"#,
            r#"{"source":"aws.s3","detail":{"state":"running"}}"#,
            r#"{"source":"aws.ec2","detail":"running"}"#,
            r#"{"source":"aws.ec2","detail":{"state":"Running"}}"#,
            "[]",
            "1",
        ],
    );
}

#[test]
fn values_other_than_strings_match_character_by_character() {
    check(
        r#"{"n":[300,null,true]}"#,
        &[r#"{"n":300}"#, r#"{"n":null}"#, r#"{"n":true}"#],
        &[
            r#"{"n":300.0}"#,
            r#"{"n":3.0e2}"#,
            r#"{"n":"300"}"#,
            r#"{"n":"null"}"#,
            r#"{"n":false}"#,
            "{}",
        ],
    );
    check(
        r#"{"n":[""]}"#,
        &[r#"{"n":""}"#],
        &[r#"{"n":null}"#, "{}", r#"{"n":"0"}"#],
    );
}

#[test]
fn one_element_of_an_array_must_match() {
    check(
        r#"{"resources":["a","b"]}"#,
        &[r#"{"resources":["x","b"]}"#, r#"{"resources":[["a"]]}"#],
        &[
            r#"{"resources":["x"]}"#,
            r#"{"resources":[]}"#,
            r#"{"resources":[{"a":"a"}]}"#,
        ],
    );
    // One object must match all that the pattern says about it.
    check(
        r#"{"items":{"kind":["card"],"amount":[1]}}"#,
        &[r#"{"items":[{"kind":"cash","amount":1},{"kind":"card","amount":1}]}"#],
        &[r#"{"items":[{"kind":"cash","amount":1},{"kind":"card","amount":2}]}"#],
    );
}

#[test]
fn a_field_exists_only_if_it_has_a_value() {
    check(
        r#"{"detail":{"c-count":[{"exists":true}]}}"#,
        &[r#"{"detail":{"c-count":5}}"#, r#"{"detail":{"c-count":null}}"#],
        &[
            r#"{"detail":{"c-count":{"c1":100}}}"#,
            r#"{"detail":{}}"#,
            "{}",
            r#"{"detail":{"c-count":[]}}"#,
        ],
    );
    check(
        r#"{"detail":{"c-count":[{"exists":false}]}}"#,
        &[
            r#"{"detail":{"c-count":{"c1":100}}}"#,
            r#"{"detail":{}}"#,
            "{}",
            r#"{"detail":1}"#,
            r#"{"detail":[]}"#,
        ],
        &[r#"{"detail":{"c-count":5}}"#, r#"{"detail":{"c-count":null}}"#],
    );
    check(
        r#"{"a":[{"exists":false},"x"]}"#,
        &["{}", r#"{"a":"x"}"#],
        &[r#"{"a":"y"}"#],
    );
}

#[test]
fn anything_but_matches_all_other_values() {
    check(
        r#"{"s":[{"anything-but":["stopped","overloaded"]}]}"#,
        &[r#"{"s":"running"}"#, r#"{"s":1}"#],
        &[r#"{"s":"stopped"}"#, "{}"],
    );
    check(
        r#"{"s":[{"anything-but":[100,200]}]}"#,
        &[r#"{"s":300}"#],
        &[r#"{"s":200}"#],
    );
    check(r#"{"s":[{"anything-but":"x"}]}"#, &[r#"{"s":"y"}"#], &[r#"{"s":"x"}"#]);
    check(
        r#"{"s":[{"anything-but":{"prefix":"us-"}}]}"#,
        &[r#"{"s":"eu-1"}"#],
        &[r#"{"s":"us-1"}"#],
    );
    check(
        r#"{"s":[{"anything-but":{"suffix":[".png",".jpg"]}}]}"#,
        &[r#"{"s":"a.gif"}"#],
        &[r#"{"s":"a.png"}"#, r#"{"s":"a.jpg"}"#],
    );
    check(
        r#"{"s":[{"anything-but":{"equals-ignore-case":"x"}}]}"#,
        &[r#"{"s":"y"}"#],
        &[r#"{"s":"X"}"#],
    );
    check(
        r#"{"s":[{"anything-but":{"wildcard":"*/lib/*"}}]}"#,
        &[r#"{"s":"/bin/x"}"#],
        &[r#"{"s":"/lib/x"}"#],
    );
}

#[test]
fn one_alternative_of_or_must_match() {
    let pattern = r#"{"source":["s"],"$or":[{"a":[1]},{"b":[2],"$or":[{"c":[3]},{"d":[4]}]}]}"#;
    check(
        pattern,
        &[r#"{"source":"s","a":1}"#, r#"{"source":"s","b":2,"d":4}"#],
        &[
            r#"{"source":"s"}"#,
            r#"{"source":"s","b":2}"#,
            r#"{"source":"x","a":1}"#,
            r#"{"source":"s","d":4}"#,
        ],
    );
    check(r#"{"$or":{"a":[1]}}"#, &[r#"{"$or":{"a":1}}"#], &[r#"{"a":1}"#]);
}

#[test]
fn the_last_of_several_members_with_one_name_counts() {
    check(r#"{"a":[1]}"#, &[r#"{"a":2,"a":1}"#], &[r#"{"a":1,"a":2}"#]);
}

#[test]
fn deep_arrays_match_nothing_and_take_no_stack() {
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    check(r#"{"a":[1]}"#, &[r#"{"a":[[[[1]]]]}"#], &[&deep]);
    check(r#"{"a":{"b":[1]}}"#, &[], &[&deep]);
}

#[test]
fn a_part_of_a_pattern_is_a_pattern() {
    let pattern: EventPattern = r#"{"a":{"b":{"c":[1]}},"d":[2]}"#.parse().unwrap();
    assert_eq!(pattern.part(["a", "b"]), Some(r#"{"c":[1]}"#.parse().unwrap()));
    assert_eq!(pattern.part([]), Some(pattern.clone()));
    assert_eq!(pattern.part(["a", "x"]), None);
    assert_eq!(pattern.part(["d", "x"]), None);
    let values = pattern.part(["d"]).unwrap();
    assert!(values.matches("2") && !values.matches("3"));
}
