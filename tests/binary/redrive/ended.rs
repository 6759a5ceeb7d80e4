//! Runs that a signal ends, and that the next run continues.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use instream_redrive::{Summary, Target, run};
use tokio::time::Instant;

use super::{Folder, lines, predicted, rejected, run_of};
use crate::options;

const FOLDER: &str = "INSTREAM_REDRIVE_FOLDER";
const LETTERS: &str = "INSTREAM_REDRIVE_LETTERS";

/// Redrives in small, slow batches, so that a signal can arrive in the middle of a run.
async fn slowly(folder: &Path, letters: &Path) -> Summary {
    let mut slow = run_of(folder, letters);
    slow.batch_size = 10;
    let mut options = options(&[]);
    options.local_endpoint.latency = Duration::from_millis(200);
    options.settings.insert("OUTPUT_MODE".to_owned(), "ordered".to_owned());
    run(slow, Target::Local(options)).await.unwrap()
}

/// The run that the tests below start in its own process.
#[tokio::test]
#[ignore = "started by other tests"]
async fn a_run() {
    let [folder, letters] = [FOLDER, LETTERS].map(path_from_environment);
    let summary = slowly(&folder, &letters).await;
    std::fs::write(folder.join("summary"), serde_json::to_string(&summary).unwrap()).unwrap();
}

/// Reads a path that the starting test sets in the environment.
fn path_from_environment(name: &str) -> PathBuf {
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

/// Sends the signal when the journal has `journal_lines` lines, and waits until the run ends.
fn end(mut run: Child, folder: &Path, signal: &str, journal_lines: usize) -> ExitStatus {
    let started = Instant::now();
    while journal(folder).iter().filter(|line| !line.is_empty()).count() < journal_lines {
        assert!(started.elapsed() < Duration::from_mins(1), "the run makes no progress");
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
async fn the_next_run_continues_an_interrupted_run_and_duplicates_nothing() {
    let folder = Folder::new("interrupted");
    let letters = rejected(&folder.0, 100).await;
    // After the second invocation.
    let status = end(start(&folder.0, &letters), &folder.0, "-INT", 20);
    assert!(status.success(), "the run ended by itself");
    let summary = std::fs::read_to_string(folder.0.join("summary")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["interrupted"], true);
    let first = summary["counts"]["finished"].as_u64().unwrap();
    assert!(
        (20..=40).contains(&first),
        "the current invocation was finished: {summary}"
    );
    let rest = slowly(&folder.0, &letters).await;
    assert_eq!(rest.counts.done_before as u64, first);
    assert_eq!(rest.counts.finished as u64, 100 - first);
    assert_eq!(
        predicted(&folder.0),
        super::once_each(&letters),
        "no record is lost or duplicated"
    );
}

#[tokio::test]
async fn the_next_run_sends_the_rest_of_a_killed_run_and_repeats_at_most_the_batch_in_flight() {
    let folder = Folder::new("killed");
    let letters = rejected(&folder.0, 100).await;
    let status = end(start(&folder.0, &letters), &folder.0, "-KILL", 20);
    assert!(!status.success());
    let rest = slowly(&folder.0, &letters).await;
    let done_before = rest.counts.done_before;
    assert!((20..100).contains(&done_before) && rest.is_complete(), "{rest}");
    assert_eq!(rest.counts.sent, 100 - done_before, "{rest}");
    let predicted: BTreeMap<_, _> = predicted(&folder.0);
    assert_eq!(predicted.len(), 100, "no record is lost");
    let twice = predicted.values().filter(|count| **count > 1).count();
    assert!(twice <= 10 && predicted.values().all(|count| *count <= 2), "{twice}");
}
