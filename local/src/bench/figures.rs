//! The plots of a report.

use plotters::style::{Color as _, RGBAColor, RGBColor};

use super::axis::Axis;
use super::comparison::{Column, Comparison};
use super::plot::{Mark, Plot, Series};
use super::quantity::later_latencies_ms;
use super::statistics::{number, percentile, sorted};
use super::timeline::Timeline;
use crate::sagemaker::CallOutcome;

/// The maximum number of points in a series. A longer series is thinned.
const POINTS_MAX: usize = 2000;
/// The number of steps in a percentile curve.
const CURVE_STEPS: u32 = 240;
/// The colours of functions. They repeat after the last one.
const COLOURS: [RGBColor; 6] = [BLUE, ORANGE, GREEN, PINK, OCHRE, GREY];
const BLUE: RGBColor = RGBColor(0x2a, 0x86, 0xcf);
const ORANGE: RGBColor = RGBColor(0xde, 0x6a, 0x10);
const GREEN: RGBColor = RGBColor(0x1d, 0x9a, 0x74);
const PINK: RGBColor = RGBColor(0xb8, 0x5c, 0x98);
const OCHRE: RGBColor = RGBColor(0x9c, 0x7c, 0x10);
const GREY: RGBColor = RGBColor(0x7a, 0x82, 0x8c);
/// The names and the colours of the outcomes, in the order of [`CallOutcome::ALL`].
const OUTCOMES: [(&str, RGBColor); CallOutcome::ALL.len()] = [
    ("answered", GREEN),
    ("throttled", RGBColor(0xe0, 0x9f, 0x1f)),
    ("container error", RGBColor(0xd0, 0x3a, 0x36)),
    ("cut or hung", RGBColor(0x91, 0x60, 0xc4)),
    ("refused", GREY),
];

/// A line or an area.
type Points = Vec<(f64, f64)>;

/// Returns all plots. The plots over time show each function's round with the median rate. The percentile curves cover
/// all rounds.
pub(super) fn all(comparison: &Comparison) -> Vec<Plot> {
    let columns = comparison.columns.iter();
    let drawn = columns.filter_map(|column| Some((column, &column.median_round()?.timeline)));
    let (columns, timelines): (Vec<_>, Vec<_>) = drawn.unzip();
    let seconds = timelines.iter().map(|timeline| timeline.seconds).fold(0.0, f64::max);
    let time = Axis::linear("time since the first event, s", seconds);
    let batches = timelines.iter().map(|timeline| thinned(&timeline.batches)).collect();
    let calls = |column: &Column| {
        let calls = column.rounds.iter().map(|round| &round.timeline.call_ms);
        calls.flatten().copied().collect()
    };
    let mut plots = vec![
        together("Batch latency", &columns, Mark::Points, time.clone(), batches),
        by_percentile(
            "Batch latency by percentile, without the first batch",
            &columns,
            |column| column.rounds.iter().flat_map(later_latencies_ms).collect(),
        ),
        by_percentile(
            "Time of a call at the endpoint by percentile, throttled calls left out",
            &columns,
            calls,
        ),
    ];
    for (title, unit, series) in [
        (
            "Calls in flight at the endpoint",
            "calls in flight",
            levels as fn(&Timeline) -> Vec<Series>,
        ),
        ("Calls by outcome", "calls per second", outcomes),
    ] {
        let all: Vec<_> = timelines.iter().map(|timeline| series(timeline)).collect();
        let y = Axis::around(unit, all.iter().flatten().flat_map(heights).chain([0.0]));
        plots.extend(columns.iter().zip(all).map(|(column, series)| Plot {
            title: format!("{title}: {}", column.name),
            x: time.clone(),
            y: y.clone(),
            series,
        }));
    }
    plots
}

fn heights(series: &Series) -> impl Iterator<Item = f64> + Clone {
    series.points.iter().map(|(_, y)| *y)
}

/// Returns a plot of times in milliseconds with all functions.
fn together(title: &str, columns: &[&Column], mark: Mark, x: Axis, points: Vec<Points>) -> Plot {
    let colours = COLOURS.into_iter().cycle().map(|colour| colour.mix(1.0));
    let names = columns.iter().map(|column| &column.name);
    let functions = names.zip(colours).zip(points);
    let series: Vec<_> = functions
        .map(|((name, colour), points)| series(name, colour, mark, points))
        .collect();
    let y = Axis::around("time, ms", series.iter().flat_map(heights));
    let title = title.to_owned();
    Plot { title, x, y, series }
}

fn by_percentile(title: &str, columns: &[&Column], values: impl Fn(&Column) -> Vec<f64>) -> Plot {
    let all: Vec<_> = columns.iter().map(|column| sorted(values(column))).collect();
    let longest = all.iter().map(Vec::len).max().unwrap_or_default().max(10);
    let count = number(longest as u64);
    let percents = (0..=CURVE_STEPS).map(|step| 100.0 * (1.0 - count.powf(-f64::from(step) / f64::from(CURVE_STEPS))));
    let curve = |values: &Vec<f64>| {
        percents
            .clone()
            .filter_map(|percent| Some((percent, percentile(values, percent)?)))
            .collect()
    };
    together(
        title,
        columns,
        Mark::Line,
        Axis::percentiles(count),
        all.iter().map(curve).collect(),
    )
}

fn series(name: &str, colour: RGBAColor, mark: Mark, points: Points) -> Series {
    let name = name.to_owned();
    Series {
        name,
        colour,
        mark,
        points,
    }
}

/// Reduces a long series to the lowest and the highest point of each group of neighbours, so that no outlier is lost.
fn thinned(points: &[(f64, f64)]) -> Points {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let by_height = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
    let groups = points.chunks(points.len().div_ceil(POINTS_MAX / 2));
    let kept = groups.flat_map(|group| [group.iter().min_by(by_height), group.iter().max_by(by_height)]);
    kept.flatten().copied().collect()
}

/// Returns a line that keeps the value of each point until the next one, and the last value until `end`.
fn steps(points: &[(f64, f64)], end: f64) -> Points {
    let ends = points.iter().skip(1).map(|(x, _)| *x).chain([end]);
    let step = |(&(x, y), end)| [(x, y), (end, y)];
    points.iter().zip(ends).flat_map(step).collect()
}

/// Returns steps of equal length over a time in seconds.
fn steps_of<T>(bins: &[T], seconds: f64, height: impl Fn(&T) -> f64) -> Points {
    let width = seconds / number(bins.len() as u64);
    let starts = (0_u32..).map(|bin| f64::from(bin) * width);
    let points: Vec<_> = starts.zip(bins.iter().map(height)).collect();
    steps(&points, seconds)
}

fn levels(timeline: &Timeline) -> Vec<Series> {
    let (seconds, bins) = (timeline.seconds, &timeline.in_flight);
    let most = steps_of(bins, seconds, |level| number(level.most));
    let mean = steps_of(bins, seconds, |level| level.mean);
    let limits = steps(&thinned(&timeline.limits), seconds);
    let mut all = vec![
        series("the most at once", BLUE.mix(0.35), Mark::Area, most),
        series("on average", BLUE.mix(1.0), Mark::Line, mean),
        series("the function's limit", ORANGE.mix(1.0), Mark::Line, limits),
    ];
    all.retain(|series| !series.points.is_empty());
    all
}

/// Returns the calls per second, stacked by outcome. The last outcome, whose area includes all others, is at the back.
fn outcomes(timeline: &Timeline) -> Vec<Series> {
    let (seconds, bins) = (timeline.seconds, &timeline.outcomes);
    let width = seconds / number(bins.len() as u64);
    let stack = |(index, (name, colour)): (usize, &(&str, RGBColor))| {
        let rate = |counts: &[u64; 5]| number(counts.iter().take(index + 1).sum()) / width;
        series(name, colour.mix(1.0), Mark::Area, steps_of(bins, seconds, rate))
    };
    OUTCOMES.iter().enumerate().rev().map(stack).collect()
}

#[cfg(test)]
mod tests {
    use super::super::comparison::tests::comparison;
    use super::*;

    #[test]
    fn each_function_is_in_every_shared_plot_and_has_plots_of_its_own() {
        let plots = all(&comparison());
        let titles: Vec<_> = plots.iter().map(|plot| plot.title.as_str()).collect();
        assert_eq!(
            titles,
            [
                "Batch latency",
                "Batch latency by percentile, without the first batch",
                "Time of a call at the endpoint by percentile, throttled calls left out",
                "Calls in flight at the endpoint: instream",
                "Calls in flight at the endpoint: a<b",
                "Calls by outcome: instream",
                "Calls by outcome: a<b",
            ]
        );
        let series = |plot: &Plot| plot.series.len();
        assert_eq!(plots.iter().map(series).collect::<Vec<_>>(), [2, 2, 2, 3, 3, 5, 5]);
        let empty = |series: &Series| series.points.is_empty();
        assert!(!plots.iter().flat_map(|plot| &plot.series).any(empty));
    }

    #[test]
    fn thinning_keeps_the_outliers() {
        let points = (0..100_000).map(|x| (f64::from(x), f64::from(x % 7)));
        let mut points: Vec<_> = points.collect();
        points[4567].1 = 99.0;
        points[4568].1 = -99.0;
        let kept = thinned(&points);
        assert!(kept.len() <= POINTS_MAX, "{}", kept.len());
        assert!(kept.contains(&(4567.0, 99.0)) && kept.contains(&(4568.0, -99.0)));
        assert_eq!(thinned(&points[..3]).len(), 3);
    }

    #[test]
    fn a_step_lasts_until_the_next_one() {
        let points = [(0.0, 5.0), (2.0, 6.0)];
        assert_eq!(steps(&points, 3.0), [(0.0, 5.0), (2.0, 5.0), (2.0, 6.0), (3.0, 6.0)]);
        assert_eq!(steps(&[], 3.0), []);
    }

    #[test]
    fn areas_of_outcomes_are_stacked_and_the_first_outcome_is_in_front() {
        let mut comparison = comparison();
        let mut timeline = comparison.columns.remove(0).rounds.remove(0).timeline;
        timeline.seconds = 60.0;
        timeline.outcomes = vec![[0; 5], [6, 3, 0, 1, 0]];
        let all: Vec<_> = outcomes(&timeline)
            .into_iter()
            .map(|series| (series.name, series.points[3]))
            .collect();
        let top = |name: &str, calls: f64| (name.to_owned(), (60.0, calls / 30.0));
        let expected = [
            top("refused", 10.0),
            top("cut or hung", 10.0),
            top("container error", 9.0),
            top("throttled", 9.0),
            top("answered", 6.0),
        ];
        assert_eq!(all, expected);
    }
}
