//! A wrong configuration ends the start-up before the first event, with all errors in one message. A risky setting is
//! logged as a warning.

use std::time::Duration;

use bytes::Bytes;
use instream_local::function::{Function, InvocationResult, StartError};
use instream_local::setup::Setup;

use crate::options;

#[tokio::test]
async fn the_configuration_is_wrong() {
    let settings = [
        ("CAPACITY", "lots"),
        ("OUTPUT", "nowhere"),
        ("CALL_TIMEOUT_MS", "0"),
        ("RETRY_CAP_MS", "1"),
    ];
    let setup = Setup::new(options(&settings)).await.unwrap();
    let error = Function::start(&setup.launch).await.unwrap_err();
    let StartError::Ended { status, log } = error else {
        panic!("{error}")
    };
    assert_eq!(status, "exit status: 1");
    for expected in [
        "CAPACITY=\"lots\"",
        "OUTPUT=\"nowhere\"",
        "CALL_TIMEOUT_MS=\"0\"",
        "RETRY_CAP_MS=\"1\"",
        "1–1000",
        "stdout:, kinesis:STREAM, firehose:STREAM, sqs:URL, s3:BUCKET/PREFIX, eventbridge:BUS or none:",
    ] {
        assert!(log.contains(expected), "{log}");
    }
}

#[tokio::test]
async fn no_request_can_be_made_of_the_aws_settings() {
    let mut setup = Setup::new(options(&[])).await.unwrap();
    for url in ["no url", "ftp://example.com", "example.com"] {
        let name = "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME".to_owned();
        setup.launch.environment.extend([(name, url.to_owned())]);
        let error = Function::start(&setup.launch).await.unwrap_err().to_string();
        assert!(
            error.contains("no request can be built from the AWS settings"),
            "{error}"
        );
        assert!(error.contains(url), "{error}");
    }
}

#[tokio::test]
async fn a_missing_dead_letter_destination_is_logged() {
    let setup = Setup::new(options(&[("DEAD_LETTER", "")])).await.unwrap();
    let function = Function::start(&setup.launch).await.unwrap();
    function.stop().await;
    drop(setup.launch);
    let mut lines = setup.lines;
    let line = lines.recv().await.unwrap();
    assert!(format!("{line:?}").contains("DEAD_LETTER is not set"), "{line:?}");
}

#[tokio::test]
async fn sending_records_unencrypted_has_to_be_allowed_and_is_logged() {
    for setting in ["ENDPOINT_URL", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] {
        an_unencrypted_endpoint_has_to_be_allowed_and_is_logged(setting).await;
    }
}

#[tokio::test]
async fn a_destination_on_another_machine_has_to_be_encrypted() {
    for service in ["KINESIS", "FIREHOSE", "SQS", "S3", "SECRETS_MANAGER", "STS"] {
        let mut setup = Setup::new(options(&[])).await.unwrap();
        let url = (format!("AWS_ENDPOINT_URL_{service}"), "http://192.0.2.1".to_owned());
        setup.launch.environment.extend([url.clone()]);
        let error = Function::start(&setup.launch).await.unwrap_err().to_string();
        let expected = format!("{} would send every record unencrypted; allowed: https", url.0);
        assert!(error.contains(&expected), "{error}");
    }
}

async fn an_unencrypted_endpoint_has_to_be_allowed_and_is_logged(setting: &str) {
    let mut setup = Setup::new(options(&[])).await.unwrap();
    setup.launch.environment.remove("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME");
    if setting == "ENDPOINT_URL" {
        setup.launch.environment.remove("ENDPOINT_NAME");
    }
    // No call is made before the first event.
    let url = (setting.to_owned(), "http://192.0.2.1/score".to_owned());
    setup.launch.environment.extend([url]);
    let error = Function::start(&setup.launch).await.unwrap_err().to_string();
    assert!(error.contains("unencrypted"), "{error}");
    let allow = ("ENDPOINT_ALLOW_HTTP".to_owned(), "1".to_owned());
    setup.launch.environment.extend([allow]);
    while setup.lines.try_recv().is_ok() {}
    let function = Function::start(&setup.launch).await.unwrap();
    function.stop().await;
    // Closes the channel: otherwise the test would wait forever for a missing line.
    drop(setup.launch);
    let line = setup.lines.recv().await.unwrap();
    assert!(
        format!("{line:?}").contains("every record goes to the endpoint unencrypted"),
        "{line:?}"
    );
}

#[tokio::test]
async fn a_call_timeout_that_does_not_fit_is_logged_once_at_the_first_event() {
    for (timeout_s, give_up_after_s, expected) in [
        (1, "", Some("no call can start")),
        (30, "", Some("a slow call is cancelled")),
        // Two attempts do not fit into 60 s.
        (60, "", Some("is never given up")),
        (60, "3600", Some("is never given up")),
        (70, "3600", None),
    ] {
        let settings = [("CALL_TIMEOUT_MS", "30000"), ("GIVE_UP_AFTER_S", give_up_after_s)];
        let mut options = options(&settings);
        options.timeout = Duration::from_mins(1);
        let time = Duration::from_secs(timeout_s);
        let setup = Setup::new(options).await.unwrap();
        let function = Function::start(&setup.launch).await.unwrap();
        drop(setup.launch);
        for _ in 0..2 {
            let result = function
                .invoke_within(Bytes::from_static(b"{\"Records\":[]}"), time)
                .await;
            assert!(matches!(result, InvocationResult::Response(_)), "{result:?}");
        }
        function.stop().await;
        let mut lines = setup.lines;
        let mut warnings = Vec::new();
        while let Some(line) = lines.recv().await {
            warnings.extend(Some(format!("{line:?}")).filter(|line| line.contains("DEADLINE_RESERVE_MS")));
        }
        assert_eq!(warnings.len(), usize::from(expected.is_some()), "{warnings:?}");
        assert!(
            warnings.iter().all(|line| line.contains(expected.unwrap())),
            "{warnings:?}"
        );
    }
}
