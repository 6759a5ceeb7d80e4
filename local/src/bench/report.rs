//! The report: one HTML file that needs neither a network nor scripts.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::comparison::Comparison;
use super::figures::{self, Figure};
use super::plot::Series;
use super::table::{NOTE, Table};

/// The file of a report. It is opened before the bench starts, so that a path that is not writable fails early.
#[derive(Debug)]
pub struct ReportFile {
    path: PathBuf,
    file: File,
}

impl ReportFile {
    /// Opens the file, or creates it and its folder. Existing content stays until the report is written.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write the report to {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(cannot)?;
        }
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(cannot)?;
        let path = path.to_owned();
        Ok(Self { path, file })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the report and replaces the content of the file.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(mut self, comparison: &Comparison) -> Result<()> {
        let html = html(comparison, SystemTime::now());
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(html.as_bytes()));
        written.with_context(|| format!("cannot write the report to {}", self.path.display()))
    }
}

fn html(comparison: &Comparison, now: SystemTime) -> String {
    let names: Vec<_> = comparison.columns.iter().map(|column| column.name.as_str()).collect();
    let title = escape(&format!("Bench: {}", names.join(" against ")));
    let style = include_str!("report.css");
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    html.push_str(&facts(comparison, now));
    _ = writeln!(
        html,
        "{}<p class=\"note\">{}</p>",
        table(&Table::of(comparison)),
        escape(NOTE)
    );
    html.push_str("<h2>Over time, and by percentile</h2>\n");
    let note = "Over time, the round with the median of the records per second is drawn, its first batch included; \
                percentiles are of all rounds.";
    _ = writeln!(html, "<p class=\"note\">{note}</p>");
    for figure in figures::all(comparison) {
        html.push_str(&figure_html(&figure));
    }
    html.push_str("</body>\n</html>\n");
    html
}

/// Returns the HTML list of the command, the settings, the load, the date and the machine.
fn facts(comparison: &Comparison, now: SystemTime) -> String {
    let seconds = DateTime::from(now).secs();
    let date = DateTime::from_secs(seconds).fmt(Format::DateTime).unwrap_or_default();
    let rounds = comparison.columns.first().map_or(0, |column| column.rounds.len());
    let (records, batch_size) = (comparison.records, comparison.batch_size);
    let mut facts = vec![
        ("command".to_owned(), code(&comparison.command)),
        ("settings".to_owned(), code(&comparison.settings.join(" "))),
        (
            "load".to_owned(),
            format!("{records} records in batches of {batch_size}, rounds: {rounds}"),
        ),
        ("date".to_owned(), date),
        ("machine".to_owned(), escape(&machine())),
    ];
    let commands = comparison.columns.iter();
    facts.extend(commands.map(|column| (escape(&column.name), code(&column.command))));
    let mut html = "<dl>\n".to_owned();
    for (name, value) in facts {
        _ = writeln!(html, "<dt>{name}</dt><dd>{value}</dd>");
    }
    html.push_str("</dl>\n");
    html
}

/// Returns the number of cores for this process, the operating system, and the processor model if Linux reports it.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("", |(_, model)| model.trim());
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{cores} cores, {os}, {architecture}, {model}")
        .trim_end_matches(", ")
        .to_owned()
}

fn table(table: &Table) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells = cells.iter().map(|text| format!("<{tag}>{}</{tag}>", cell(text)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = table.rows.iter().map(|cells| row(cells, "td")).collect();
    let head = row(&table.head, "th");
    format!("<div class=\"wide\"><table>\n{head}{rows}</table></div>\n")
}

/// Returns the HTML of a cell. The spread in parentheses is one unit: in a narrow cell it moves below the median.
fn cell(text: &str) -> String {
    match text.split_once(" (") {
        Some((median, spread)) => format!("{} <span>({}</span>", escape(median), escape(spread)),
        None => escape(text),
    }
}

fn figure_html(Figure { title, plot }: &Figure) -> String {
    let entry = |series: &Series| {
        let name = escape(&series.name);
        format!("<span class=\"{}\"><i></i><b>{name}</b></span>", series.class)
    };
    let legend: String = match plot.series.as_slice() {
        [_] => String::new(),
        series => series.iter().map(entry).collect(),
    };
    let (title, svg) = (escape(title), plot.svg());
    format!("<figure>\n<figcaption>{title}</figcaption>\n<div class=\"legend\">{legend}</div>\n{svg}</figure>\n")
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::comparison::tests::comparison;
    use super::super::quantity::QUANTITIES;
    use super::*;

    fn page() -> String {
        html(&comparison(), UNIX_EPOCH + Duration::from_secs(1_795_000_000))
    }

    #[test]
    fn a_report_is_complete_and_refers_to_nothing_outside() {
        let page = page();
        for outside in ["http://", "https://", "<script", "<link", "src=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg").count(), figures::all(&comparison()).len());
        assert!(page.ends_with("</html>\n") && page.contains("CAPACITY=64") && page.contains("2026-11-18T"));
        for quantity in QUANTITIES {
            assert!(
                page.contains(&format!("<td>{}</td>", quantity.name)),
                "{}",
                quantity.name
            );
        }
        assert!(!page.contains("NaN") && !page.contains("inf\""));
    }

    #[test]
    fn names_and_commands_are_escaped() {
        let page = page();
        assert!(!page.contains("a<b"), "as a name, in the legend and in the command");
        assert!(
            page.contains("<th>a&lt;b</th>")
                && page.contains("<b>a&lt;b</b>")
                && page.contains("--against &#39;a&lt;b&#39;")
        );
        assert_eq!(
            escape("<a href=\"x\">'&'"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;"
        );
    }

    #[test]
    fn a_file_keeps_its_content_until_the_report_is_written_and_an_unwritable_file_is_an_error() {
        let folder = std::env::temp_dir().join(format!("instream-report-{}", std::process::id()));
        let path = folder.join("new/bench.html");
        let earlier = "an earlier report ".repeat(10_000);
        drop(ReportFile::open(&path).unwrap());
        fs::write(&path, &earlier).unwrap();
        let file = ReportFile::open(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), earlier);
        file.write(&comparison()).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("<!DOCTYPE html>") && written.ends_with("</html>\n"));
        let error = ReportFile::open(&path.join("below-a-file")).unwrap_err();
        assert!(error.to_string().contains("cannot write the report to"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
