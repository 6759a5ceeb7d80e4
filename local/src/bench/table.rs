//! The table: a row for each quantity, a column for each function, and the ratios.

use std::fmt;

use super::comparison::Comparison;
use super::quantity::{QUANTITIES, Quantity};
use super::statistics::Spread;

/// The explanation of the numbers, shown below the table.
pub const NOTE: &str = "Median of the rounds (lowest–highest); ratios are those of medians. The first batch is in none of \
                        the\npercentiles, the records per second and the CPU per record.";

/// The texts of the table in rows and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The head of each column.
    pub head: Vec<String>,
    /// The rows. Each has as many texts as there are columns: its name, its unit, and the values.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns the table of all quantities, including those that were not measured.
    pub fn of(comparison: &Comparison) -> Self {
        let ours = comparison.columns.first().map_or("", |ours| &ours.name);
        let names = comparison.columns.iter().map(|column| column.name.clone());
        let ratios = comparison
            .others()
            .iter()
            .map(|other| format!("{ours} / {}", other.name));
        let head = [String::new(), String::new()].into_iter().chain(names).chain(ratios);
        Self {
            head: head.collect(),
            rows: QUANTITIES.iter().map(|quantity| row(comparison, quantity)).collect(),
        }
    }
}

fn row(comparison: &Comparison, quantity: &Quantity) -> Vec<String> {
    let values = comparison.columns.iter().map(|column| match column.spread(quantity) {
        Some(spread) => with_spread(spread, quantity.decimals),
        None => "not measured".to_owned(),
    });
    let ratio = |other| comparison.ratio(other, quantity);
    let ratios = comparison.others().iter().map(|other| match ratio(other) {
        Some(ratio) => format!("{ratio:.2}"),
        None => "–".to_owned(),
    });
    let name = [quantity.name, quantity.unit].map(str::to_owned);
    name.into_iter().chain(values).chain(ratios).collect()
}

fn with_spread(Spread { median, min, max }: Spread, decimals: usize) -> String {
    if min < max {
        format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
    } else {
        format!("{median:.decimals$}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            let texts = rows().filter_map(|row| row.get(column));
            texts.map(|text| text.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..self.head.len()).map(width).collect();
        for row in rows() {
            let cell = |(column, (text, width)): (usize, (&String, &usize))| match column {
                0 | 1 => format!("{text:<width$}  "),
                _ => format!("{text:>width$}  "),
            };
            let line: String = row.iter().zip(&widths).enumerate().map(cell).collect();
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::comparison::tests::comparison;
    use super::*;

    #[test]
    fn a_row_has_the_median_with_its_spread_for_each_function_and_the_ratio() {
        let table = Table::of(&comparison());
        assert_eq!(table.head, ["", "", "instream", "a<b", "instream / a<b"]);
        let row = |name: &str| table.rows.iter().find(|row| row[0] == name).unwrap();
        assert_eq!(
            row("batch, p50"),
            &[
                "batch, p50",
                "ms",
                "60.00 (50.00–100.00)",
                "120.00 (110.00–300.00)",
                "0.50"
            ]
        );
        assert_eq!(row("calls, throttled"), &["calls, throttled", "", "0", "0", "–"]);
        assert_eq!(row("limit at the end")[2], "not measured");
        assert_eq!(table.rows.len(), QUANTITIES.len());
    }

    #[test]
    fn columns_are_aligned_by_characters_not_bytes() {
        let row = |texts: [&str; 3]| texts.map(str::to_owned).to_vec();
        let table = Table {
            head: row(["", "", "name"]),
            rows: vec![row(["CPU", "µs", "1–2"]), row(["start", "1/s", "1000.0"])],
        };
        assert_eq!(
            table.to_string(),
            "              name\nCPU    µs      1–2\nstart  1/s  1000.0\n"
        );
    }
}
