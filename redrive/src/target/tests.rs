use instream_local::environment::Settings;
use instream_local::runtime_api::FunctionError;

use super::super::dead_letter::{Origin, Record};
use super::*;

fn letters() -> Vec<DeadLetter> {
    let letter = |number: u64| {
        let record = Record {
            event_id: Some("shardId-0:7".to_owned()),
            partition_key: None,
            explicit_hash_key: None,
            arrival_s: None,
            data: "data".into(),
        };
        DeadLetter::with_data(record, number, String::new(), Origin::default())
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
    assert!(error.is_batch_failure && !error.finished.contains(&true));
    assert!(attempt_of(&answer("oops"), &letters).is_batch_failure);
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

#[tokio::test]
async fn different_targets_have_different_identities() {
    let services = |port: u16| {
        let url = |service: &str| {
            (
                format!("AWS_ENDPOINT_URL_{service}"),
                format!("http://127.0.0.1:{port}"),
            )
        };
        Services::new(["LAMBDA", "KINESIS"].into_iter().map(url).collect())
    };
    let here = |line: &str, output: &str| {
        Target::Local(Options {
            program: Some(Program::Shell(line.to_owned())),
            settings: Settings::from([("OUTPUT".to_owned(), output.to_owned())]),
            ..Options::default()
        })
    };
    let by_url = |url: &str| {
        Target::Local(Options {
            user_endpoint: Some(UserEndpoint::Url(url.to_owned())),
            ..Options::default()
        })
    };
    let mut identities = std::collections::BTreeSet::new();
    for target in [
        Target::Deployed("instream".to_owned()),
        Target::Stream("instream".to_owned()),
    ] {
        for port in [1, 2] {
            identities.insert(target.identity(&services(port)).await.unwrap());
        }
    }
    for (line, output) in [("one", "none:"), ("another", "none:"), ("one", "stdout:")] {
        identities.insert(here(line, output).identity(&services(1)).await.unwrap());
    }
    for url in ["https://one.example/score", "https://another.example/score"] {
        identities.insert(by_url(url).identity(&services(1)).await.unwrap());
    }
    assert_eq!(identities.len(), 9, "{identities:?}");
}
