//! The sample events: each has the answer that stands beside it.

use std::fs;

use instream_local::event_command;

use crate::{options, repository};

#[tokio::test]
async fn every_sample_event_has_the_answer_beside_it() {
    let mut names: Vec<String> = fs::read_dir(repository("events"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".response.json").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let run = event_command::run(&repository(&format!("events/{name}.json")), options(&[]))
            .await
            .unwrap();
        let expected = fs::read_to_string(repository(&format!("events/{name}.response.json"))).unwrap();
        assert_eq!(
            run.answer_line(),
            expected.trim_end(),
            "{name}:\n{}",
            run.log.join("\n")
        );
    }
}

#[tokio::test]
async fn one_event_delivers_its_predictions_and_logs_no_payload() {
    let run = event_command::run(&repository("events/refused.json"), options(&[("RUST_LOG", "info")]))
        .await
        .unwrap();
    let (dead, predicted): (Vec<_>, Vec<_>) = run.output.iter().partition(|line| line.contains("\"reason\""));
    assert_eq!((predicted.len(), dead.len()), (4, 1));
    assert!(
        dead[0].contains(r#""reason":{"kind":"Refused","message":"the container answered with status 400"#),
        "{dead:?}"
    );
    let log = run.log.join("\n");
    assert!(log.contains("predicted=4 rejected=1"), "{log}");
    for secret in ["a lot", "merchant", "score"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
