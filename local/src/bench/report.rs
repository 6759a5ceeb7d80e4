//! The report: one HTML file that needs neither a network nor scripts.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::comparison::{Column, Comparison};
use super::figures;
use super::plot::Plot;
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
    /// If a plot cannot be drawn, or the file cannot be written.
    pub fn write(mut self, comparison: &Comparison) -> Result<()> {
        let html = html(comparison, SystemTime::now())?;
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(html.as_bytes()));
        written.with_context(|| format!("cannot write the report to {}", self.path.display()))
    }
}

fn html(comparison: &Comparison, now: SystemTime) -> Result<String> {
    let names: Vec<_> = comparison.columns.iter().map(|column| column.name.as_str()).collect();
    let function = |column: &Column| {
        let [name, command] = [&column.name, &column.command].map(|text| escape(text));
        format!("<dt>{name}</dt><dd><code>{command}</code></dd>\n")
    };
    let figure = |plot: &Plot| Ok(format!("<figure>\n{}</figure>\n", plot.svg()?));
    let table = Table::of(comparison);
    let rows = table.rows.iter().map(|cells| row(cells, "td"));
    let seconds = DateTime::from(now).secs();
    Ok(format!(
        include_str!("report.html"),
        title = escape(&format!("Bench: {}", names.join(" against "))),
        style = include_str!("report.css"),
        command = escape(&comparison.command),
        settings = escape(&comparison.settings.join(" ")),
        load = comparison.load(),
        date = DateTime::from_secs(seconds).fmt(Format::DateTime)?,
        machine = escape(&machine()),
        functions = comparison.columns.iter().map(function).collect::<String>(),
        table = std::iter::once(row(&table.head, "th")).chain(rows).collect::<String>(),
        note = escape(NOTE),
        figures = figures::all(comparison)
            .iter()
            .map(figure)
            .collect::<Result<String>>()?,
    ))
}

/// Returns the number of cores for this process, the operating system, and the processor model if Linux reports it.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    format!(
        "{cores} cores, {}, {}, {model}",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// Returns a row of the table. The spread in parentheses is one unit: in a narrow cell it moves below the median.
fn row(cells: &[String], tag: &str) -> String {
    let cell = |text: &String| match escape(text).split_once(" (") {
        Some((median, spread)) => format!("<{tag}>{median} <span>({spread}</span></{tag}>"),
        None => format!("<{tag}>{}</{tag}>", escape(text)),
    };
    format!("<tr>{}</tr>\n", cells.iter().map(cell).collect::<String>())
}

fn escape(text: &str) -> String {
    let special = [
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('"', "&quot;"),
        ('\'', "&#39;"),
    ];
    let replace = |text: String, (character, entity)| text.replace(character, entity);
    special.into_iter().fold(text.to_owned(), replace)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::comparison::tests::comparison;
    use super::super::quantity::QUANTITIES;
    use super::*;

    fn page() -> String {
        html(&comparison(), UNIX_EPOCH + Duration::from_secs(1_795_000_000)).unwrap()
    }

    #[test]
    fn a_report_is_complete_and_refers_to_nothing_outside() {
        // The namespace of SVG is only a name.
        let page = page().replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
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
                && page.contains("Calls by outcome: a&lt;b\n</text>")
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
