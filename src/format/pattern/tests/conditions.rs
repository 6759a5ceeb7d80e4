//! Conditions on one value: text, wildcards, numbers and addresses.

use super::check;

#[test]
fn text_begins_ends_or_equals() {
    check(
        r#"{"r":[{"prefix":"us-"}]}"#,
        &[r#"{"r":"us-east-1"}"#],
        &[r#"{"r":"eu-us-"}"#, r#"{"r":1}"#, "{}"],
    );
    check(
        r#"{"r":[{"prefix":{"equals-ignore-case":"EVENTB"}}]}"#,
        &[r#"{"r":"EventBridge"}"#],
        &[r#"{"r":"event"}"#],
    );
    check(
        r#"{"r":[{"suffix":".png"}]}"#,
        &[r#"{"r":"a.png"}"#],
        &[r#"{"r":"a.PNG"}"#, r#"{"r":"png"}"#],
    );
    check(
        r#"{"r":[{"suffix":{"equals-ignore-case":".png"}}]}"#,
        &[r#"{"r":"a.PNG"}"#],
        &[r#"{"r":"a.jpg"}"#],
    );
    check(
        r#"{"r":[{"equals-ignore-case":"Alice"}]}"#,
        &[r#"{"r":"aLICE"}"#],
        &[r#"{"r":"alice "}"#],
    );
    // A sigma has another lowercase letter at the end of a word.
    check(
        r#"{"r":[{"prefix":{"equals-ignore-case":"ΣΑΣ"}}]}"#,
        &[r#"{"r":"ΣΑΣΑ"}"#, r#"{"r":"σασ"}"#],
        &[r#"{"r":"ΣΑ"}"#],
    );
}

#[test]
fn wildcards_match_any_text() {
    check(
        r#"{"path":[{"wildcard":"dir/*.png"}]}"#,
        &[
            r#"{"path":"dir/a.png"}"#,
            r#"{"path":"dir/.png"}"#,
            r#"{"path":"dir/a/b.png.png"}"#,
        ],
        &[
            r#"{"path":"dir/a.jpg"}"#,
            r#"{"path":"dir.png"}"#,
            r#"{"path":"a/dir/a.png"}"#,
        ],
    );
    check(
        r#"{"path":[{"wildcard":"*/lib/*"}]}"#,
        &[r#"{"path":"/usr/lib/x"}"#],
        &[r#"{"path":"lib"}"#],
    );
    check(
        r#"{"path":[{"wildcard":"a*a"}]}"#,
        &[r#"{"path":"aa"}"#],
        &[r#"{"path":"a"}"#],
    );
    check(
        r#"{"path":[{"wildcard":"*b*bc"}]}"#,
        &[r#"{"path":"abbc"}"#],
        &[r#"{"path":"abc"}"#],
    );
    check(
        r#"{"path":[{"wildcard":"a\\*\\\\"}]}"#,
        &[r#"{"path":"a*\\"}"#],
        &[r#"{"path":"ab\\"}"#],
    );
    check(
        r#"{"path":[{"wildcard":"a"}]}"#,
        &[r#"{"path":"a"}"#],
        &[r#"{"path":"ab"}"#],
    );
}

#[test]
fn numbers_are_compared() {
    check(
        r#"{"n":[{"numeric":[">",0,"<=",5]}]}"#,
        &[r#"{"n":5}"#, r#"{"n":0.01}"#, r#"{"n":5e0}"#, r#"{"n":[9,3]}"#],
        &[r#"{"n":0}"#, r#"{"n":5.01}"#, r#"{"n":"3"}"#, r#"{"n":null}"#, "{}"],
    );
    check(
        r#"{"n":[{"numeric":["=",3.018e2]}]}"#,
        &[r#"{"n":301.8}"#],
        &[r#"{"n":301.81}"#],
    );
    check(
        r#"{"n":[{"numeric":["=",90071992547409930]}]}"#,
        &[r#"{"n":9007199254740993e1}"#],
        &[r#"{"n":90071992547409920}"#],
    );
    check(
        r#"{"n":[{"numeric":[">",0]}]}"#,
        &[r#"{"n":1e999}"#],
        &[r#"{"n":-1e999}"#, r#"{"n":1e-999}"#, r#"{"n":"inf"}"#],
    );
    check(
        r#"{"n":[{"numeric":["<",-1]},{"numeric":[">=",1]}]}"#,
        &[r#"{"n":-2}"#, r#"{"n":1}"#],
        &[r#"{"n":-1}"#],
    );
}

#[test]
fn addresses_are_in_a_block() {
    check(
        r#"{"ip":[{"cidr":"10.0.0.0/24"}]}"#,
        &[r#"{"ip":"10.0.0.255"}"#],
        &[
            r#"{"ip":"10.0.1.0"}"#,
            r#"{"ip":"::1"}"#,
            r#"{"ip":"x"}"#,
            r#"{"ip":10}"#,
        ],
    );
    check(
        r#"{"ip":[{"cidr":"2001:db8::/32"}]}"#,
        &[r#"{"ip":"2001:db8:1::1"}"#],
        &[r#"{"ip":"2001:db9::"}"#],
    );
    check(
        r#"{"ip":[{"cidr":"0.0.0.0/0"}]}"#,
        &[r#"{"ip":"255.0.0.1"}"#],
        &[r#"{"ip":"::"}"#],
    );
}
