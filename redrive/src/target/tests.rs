use instream_local::runtime_api::FunctionError;

use super::*;
use crate::letter::Record;
use crate::source::Item;

fn letters() -> Vec<Letter> {
    let item = Item::new("here".to_owned(), "", Ok(String::new()));
    let letter = |number: u64| {
        let record = Record {
            event_id: Some("shardId-0:7".to_owned()),
            data: Some("data".into()),
            ..Record::default()
        };
        Letter::new(record, None, number, "", &item)
    };
    (0..4).map(letter).collect()
}

#[test]
fn records_from_the_named_one_on_are_unfinished_and_after_an_error_all_are() {
    let letters = letters();
    let answer = |text: &str| InvocationResult::Response(Bytes::copy_from_slice(text.as_bytes()));
    let finished = |answer: &InvocationResult| {
        attempt_of(answer, &letters)
            .finished
            .into_iter()
            .filter(|it| *it)
            .count()
    };
    assert_eq!(finished(&answer(r#"{"batchItemFailures":[]}"#)), 4);
    assert_eq!(
        finished(&answer(r#"{"batchItemFailures":[{"itemIdentifier":"7#2"}]}"#)),
        2
    );
    assert_eq!(
        finished(&answer(r#"{"batchItemFailures":[{"itemIdentifier":"7"}]}"#)),
        0
    );
    let error = attempt_of(&InvocationResult::Error(FunctionError::default()), &letters);
    assert!(!error.finished.contains(&true));
    assert_eq!(finished(&answer("oops")), 0);
}

#[test]
fn the_failure_has_the_type_of_an_error_and_not_its_message() {
    let error = FunctionError {
        error_type: "Oops".to_owned(),
        error_message: "secret".to_owned(),
    };
    let failure = attempt_of(&InvocationResult::Error(error), &letters()).failure.unwrap();
    assert!(failure.contains("Oops") && !failure.contains("secret"), "{failure}");
}

#[test]
fn the_description_shows_only_host_and_path_of_a_url() {
    let target = Target::Local(Options {
        user_endpoint: Some(UserEndpoint::Url(
            "https://me:secret@one.example:8443/score?key=secret".to_owned(),
        )),
        ..Options::default()
    });
    assert_eq!(
        target.describe(),
        "the function on this machine, with the endpoint at one.example/score"
    );
}
