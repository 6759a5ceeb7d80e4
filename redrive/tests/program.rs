//! The real program: signals that end it, and what it prints.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const TEST_TIMEOUT: Duration = Duration::from_secs(30);
const LETTER: &str = r#"{"eventId":"shardId-0:7","partitionKey":"k","reason":{"kind":"Refused"},"data":"aGk="}"#;

/// A service that accepts requests and never answers.
struct SilentService(TcpListener);

impl SilentService {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Starts the program with this service for all of AWS. Standard error is kept.
    fn start(&self, args: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_instream-redrive"))
            .args(args)
            .env_clear()
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.0.local_addr().unwrap()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits for a request, which stays open as long as the result exists.
    fn request(&self) -> TcpStream {
        let (mut stream, _) = self.0.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream
    }
}

fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// Returns the exit code of the program, which must end soon.
fn exit_code(mut child: Child) -> Option<i32> {
    let id = child.id().to_string();
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait().unwrap().code()));
    ended.recv_timeout(TEST_TIMEOUT).unwrap_or_else(|_| {
        _ = Command::new("kill").args(["-KILL", &id]).status();
        panic!("the program did not end")
    })
}

#[test]
fn a_signal_ends_the_program_while_it_waits_for_a_source() {
    let journal = std::env::temp_dir().join(format!("instream-interrupt-{}", std::process::id()));
    let journal = journal.to_str().unwrap();
    for source in ["s3://dead/letters/", "sqs:http://127.0.0.1:1/1/dead"] {
        for args in [
            &[source, "--journal", journal][..],
            &[source, "--journal", journal, "--to-stream", "s", "--yes"],
        ] {
            for kind in ["-INT", "-TERM"] {
                let service = SilentService::new();
                let program = service.start(args);
                let _request = service.request();
                signal(&program, kind);
                assert_eq!(exit_code(program), Some(130), "{args:?} {kind}");
            }
        }
    }
    std::fs::remove_file(journal).unwrap();
}

#[test]
fn a_second_signal_ends_the_program_while_an_invocation_is_in_flight() {
    let folder = std::env::temp_dir().join(format!("instream-interrupt-twice-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [letters, journal] = ["letters", "journal"].map(|name| folder.join(name).to_str().unwrap().to_owned());
    std::fs::write(&letters, LETTER).unwrap();
    let service = SilentService::new();
    let mut program = service.start(&[&letters, "--journal", &journal, "--to-stream", "s", "--yes"]);
    let _request = service.request();
    signal(&program, "-INT");
    let mut stderr = program.stderr.take().unwrap();
    let mut text = vec![0; "interrupted: waiting".len()];
    stderr.read_exact(&mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "interrupted: waiting");
    assert_eq!(program.try_wait().unwrap(), None);
    signal(&program, "-TERM");
    assert_eq!(exit_code(program), Some(1));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("the records in flight are sent again"), "{rest}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_comes_from_dead_letters_and_file_names_neither_starts_a_line_nor_controls_the_terminal() {
    let folder = std::env::temp_dir().join(format!("instream-printed-{}", std::process::id()));
    let letters = folder.join("\x1b[2J\nfinished 999");
    std::fs::create_dir_all(&letters).unwrap();
    let letter = LETTER.replace("Refused", r"\u001b]0;title\u0007\nfinished 999\r\u009b2J");
    let letters_and_a_broken_line = format!("{letter}\nbroken\n");
    std::fs::write(letters.join("\u{202e}\nfinished 999"), letters_and_a_broken_line).unwrap();
    let program = SilentService::new().start(&[letters.to_str().unwrap(), "--journal", "/nowhere/\x1b[2J"]);
    let output = program.wait_with_output().unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let is_hostile = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!printed.contains(is_hostile), "{printed:?}");
    assert!(
        printed.contains("to send         1") && printed.contains("not readable    1"),
        "{printed}"
    );
    assert!(!printed.lines().any(|line| line.starts_with("finished")), "{printed}");
    assert!(
        printed.matches("\\nfinished 999").count() >= 4,
        "the kind, the folder twice, the file: {printed}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}
