//! Records that never succeed, and the records after them.

use instream_redrive::{Target, run};
use serde_json::Value;

use super::{Folder, lines, outcome, predicted, redrive, rejected, run_of};
use crate::options;

/// Returns the dead letter with a record to which the endpoint always responds with an error.
fn poisoned(letter: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    let mut letter: Value = serde_json::from_str(letter).unwrap();
    let data = BASE64.decode(letter["data"].as_str().unwrap()).unwrap();
    let record = String::from_utf8(data).unwrap();
    let record = record.replacen('{', r#"{"$fault":"always error","#, 1);
    letter["data"] = BASE64.encode(record).into();
    letter.to_string()
}

#[tokio::test]
async fn a_record_that_always_fails_does_not_block_the_records_after_it() {
    let folder = Folder::new("poison");
    let dead_letters = rejected(&folder.0, 50).await;
    let mut text = lines(&dead_letters);
    text[7] = poisoned(&text[7]);
    std::fs::write(&dead_letters, text.join("\n")).unwrap();
    let summary = redrive(&folder.0, &dead_letters).await;
    assert_eq!(outcome(&summary), (50, 49, Some(49), Some(0)), "{summary}");
    assert_eq!((summary.counts.unfinished, summary.counts.not_tried), (1, 0));
    assert!(!summary.is_complete());
    let predicted_once = predicted(&folder.0);
    assert_eq!((predicted_once.len(), predicted_once.values().sum::<usize>()), (49, 49));
    let again = redrive(&folder.0, &dead_letters).await;
    assert_eq!(
        (again.counts.done_before, again.counts.sent),
        (49, 1),
        "only the failing record is sent again"
    );
}

#[tokio::test]
async fn a_run_ends_in_an_outage_and_the_next_run_sends_the_rest() {
    let folder = Folder::new("outage");
    let dead_letters = rejected(&folder.0, 50).await;
    let mut outage = run_of(&folder.0, &dead_letters);
    (outage.max_retries, outage.stop_after) = (0, 3);
    let mut options = options(&[]);
    options.local_endpoint.rates.throttle = 1.0;
    options.settings.insert("MAX_ATTEMPTS".to_owned(), "1".to_owned());
    let summary = run(outage, Target::Local(options)).await.unwrap();
    assert!(summary.given_up && !summary.is_complete(), "{summary}");
    assert_eq!(
        (summary.counts.unfinished, summary.counts.finished),
        (3, 0),
        "{summary}"
    );
    let fixed = redrive(&folder.0, &dead_letters).await;
    assert_eq!(outcome(&fixed), (50, 50, Some(50), Some(0)), "{fixed}");
}

#[tokio::test]
async fn a_record_that_crashes_the_function_is_the_only_one_that_stays_unfinished() {
    let folder = Folder::new("deadly");
    let dead_letters = rejected(&folder.0, 8).await;
    let mut text = lines(&dead_letters);
    text[2] = text[2].replace(r#""partitionKey":""#, r#""partitionKey":"deadly-"#);
    std::fs::write(&dead_letters, text.join("\n")).unwrap();
    let script = folder.0.join("function.py");
    std::fs::write(&script, include_str!("deadly.py")).unwrap();
    let mut deadly = run_of(&folder.0, &dead_letters);
    deadly.max_retries = 0;
    let mut options = options(&[]);
    let command = format!("python3 '{}'", script.display());
    options.program = Some(instream_local::function::Program::Shell(command));
    options.settings.insert("OUTPUT".to_owned(), "none:".to_owned());
    options.settings.insert("DEAD_LETTER".to_owned(), "none:".to_owned());
    let (_, path) = std::env::vars().find(|(name, _)| name == "PATH").unwrap();
    options.settings.insert("PATH".to_owned(), path);
    let summary = run(deadly, Target::Local(options)).await.unwrap();
    assert_eq!(
        (summary.counts.finished, summary.counts.unfinished),
        (7, 1),
        "{summary}"
    );
}
