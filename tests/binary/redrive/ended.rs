//! Runs that are ended from outside, and gone on with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use instream_redrive::{Redrive, Target, run};
use tokio::time::Instant;

use super::{Folder, lines, predicted, redrive, refused};

const FOLDER: &str = "INSTREAM_REDRIVE_FOLDER";
const LETTERS: &str = "INSTREAM_REDRIVE_LETTERS";

/// Small batches, each of which takes its time: so that a run can be met in the middle.
fn slow(folder: &Path, letters: &Path) -> Redrive {
    let mut slow = redrive(folder, letters);
    slow.batch_size = 10;
    let Target::Local(options) = &mut slow.target else {
        panic!()
    };
    options.local_endpoint.latency = Duration::from_millis(200);
    options.settings.insert("OUTPUT_MODE".to_owned(), "ordered".to_owned());
    slow
}

/// What the tests below start as a process of its own.
#[tokio::test]
#[ignore = "a part of other tests"]
async fn a_run() {
    let [folder, letters] = [FOLDER, LETTERS].map(of_the_environment);
    let summary = run(slow(&folder, &letters)).await.unwrap();
    std::fs::write(folder.join("summary"), serde_json::to_string(&summary).unwrap()).unwrap();
}

/// Told to the process by the test that starts it.
fn of_the_environment(name: &str) -> PathBuf {
    let (_, value) = std::env::vars_os().find(|(own, _)| own == name).unwrap();
    value.into()
}

fn start(folder: &Path, letters: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "redrive::ended::a_run", "--ignored"])
        .env(FOLDER, folder)
        .env(LETTERS, letters)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sends the signal once so many lines are in the journal, and waits for the end.
fn end(mut run: Child, folder: &Path, signal: &str, journal_lines: usize) -> ExitStatus {
    let begun = Instant::now();
    while journal(folder).len() < journal_lines {
        assert!(begun.elapsed() < Duration::from_mins(1), "the run makes no progress");
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = run.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    run.wait().unwrap()
}

fn journal(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("redrive")).into_iter().flatten();
    let journals = files.map(|file| file.unwrap().path());
    let mut journals = journals.filter(|path| path.to_string_lossy().contains("journal-"));
    journals.next().map(|path| lines(&path)).unwrap_or_default()
}

#[tokio::test]
async fn a_run_that_is_interrupted_is_gone_on_with_and_nothing_comes_twice() {
    let folder = Folder::new("interrupted");
    let letters = refused(&folder.0, 100).await;
    // In the middle of the third invocation.
    let status = end(start(&folder.0, &letters), &folder.0, "-INT", 5);
    assert!(status.success(), "it ended by itself");
    let summary = std::fs::read_to_string(folder.0.join("summary")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["interrupted"], true);
    let first = summary["counts"]["finished"].as_u64().unwrap();
    assert!(
        (30..=40).contains(&first),
        "the invocation under way has ended: {summary}"
    );
    let rest = run(slow(&folder.0, &letters)).await.unwrap();
    assert_eq!(rest.counts.done_before as u64, first);
    assert_eq!(rest.counts.finished as u64, 100 - first);
    assert_eq!(rest.counts.in_doubt_again, 0);
    assert_eq!(
        predicted(&folder.0),
        super::once_each(&letters),
        "none is lost, none came twice"
    );
}

#[tokio::test]
async fn a_run_that_is_killed_loses_nothing_and_puts_no_more_than_a_batch_twice() {
    let folder = Folder::new("killed");
    let letters = refused(&folder.0, 100).await;
    let status = end(start(&folder.0, &letters), &folder.0, "-KILL", 5);
    assert!(!status.success());
    let left_out = {
        let mut without = slow(&folder.0, &letters);
        without.yes = false;
        without.selection.skip_in_doubt = true;
        run(without).await.unwrap()
    };
    let in_doubt = left_out.counts.in_doubt_left_out;
    assert!((1..=10).contains(&in_doubt) && !left_out.is_complete(), "{left_out}");
    let rest = run(slow(&folder.0, &letters)).await.unwrap();
    assert_eq!(rest.counts.in_doubt_again, in_doubt, "{rest}");
    assert!(rest.counts.done_before >= 20 && rest.is_complete(), "{rest}");
    let predicted: BTreeMap<_, _> = predicted(&folder.0);
    assert_eq!(predicted.len(), 100, "none is lost");
    let twice = predicted.values().filter(|count| **count > 1).count();
    assert!(
        twice <= in_doubt && predicted.values().all(|count| *count <= 2),
        "{twice}"
    );
}
