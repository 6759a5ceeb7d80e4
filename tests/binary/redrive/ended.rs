//! Runs that a signal ends, and that the next run continues.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use instream_redrive::{Redrive, Target, run};
use tokio::time::Instant;

use super::{Folder, lines, predicted, redrive, rejected};

const FOLDER: &str = "INSTREAM_REDRIVE_FOLDER";
const LETTERS: &str = "INSTREAM_REDRIVE_LETTERS";

/// A redrive with small, slow batches, so that a signal can arrive in the middle of a run.
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

/// The run that the tests below start in its own process.
#[tokio::test]
#[ignore = "started by other tests"]
async fn a_run() {
    let [folder, letters] = [FOLDER, LETTERS].map(path_from_environment);
    let summary = run(slow(&folder, &letters)).await.unwrap();
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
    while journal(folder).len() < journal_lines {
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
    // In the middle of the third invocation.
    let status = end(start(&folder.0, &letters), &folder.0, "-INT", 5);
    assert!(status.success(), "the run ended by itself");
    let summary = std::fs::read_to_string(folder.0.join("summary")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["interrupted"], true);
    let first = summary["counts"]["finished"].as_u64().unwrap();
    assert!(
        (30..=40).contains(&first),
        "the current invocation was finished: {summary}"
    );
    let rest = run(slow(&folder.0, &letters)).await.unwrap();
    assert_eq!(rest.counts.done_before as u64, first);
    assert_eq!(rest.counts.finished as u64, 100 - first);
    assert_eq!(rest.counts.in_doubt_again, 0);
    assert_eq!(
        predicted(&folder.0),
        super::once_each(&letters),
        "no record is lost or duplicated"
    );
}

#[tokio::test]
async fn a_killed_run_loses_nothing_and_duplicates_at_most_one_batch() {
    let folder = Folder::new("killed");
    let letters = rejected(&folder.0, 100).await;
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
    assert_eq!(predicted.len(), 100, "no record is lost");
    let twice = predicted.values().filter(|count| **count > 1).count();
    assert!(
        twice <= in_doubt && predicted.values().all(|count| *count <= 2),
        "{twice}"
    );
}
