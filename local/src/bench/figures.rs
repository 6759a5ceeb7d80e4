//! The plots of a report.

use plotters::prelude::{Color as _, RGBAColor, RGBColor};

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
const BLUE: RGBColor = RGBColor(0x1f, 0x7f, 0xc4);
const ORANGE: RGBColor = RGBColor(0xd9, 0x65, 0x0a);
const GREEN: RGBColor = RGBColor(0x1d, 0x9a, 0x74);
const PINK: RGBColor = RGBColor(0xb8, 0x5c, 0x98);
const OCHRE: RGBColor = RGBColor(0x9c, 0x7c, 0x10);
const GREY: RGBColor = RGBColor(0x7a, 0x82, 0x8c);

/// A function with its colour, and its round that the plots over time show.
struct Drawn<'c> {
    column: &'c Column,
    colour: RGBColor,
    timeline: &'c Timeline,
}

impl Drawn<'_> {
    fn series(&self, mark: Mark, points: Vec<(f64, f64)>) -> Series {
        series(&self.column.name, self.colour.mix(0.8), mark, points)
    }
}

fn series(name: &str, colour: RGBAColor, mark: Mark, points: Vec<(f64, f64)>) -> Series {
    let name = name.to_owned();
    Series {
        name,
        colour,
        mark,
        points,
    }
}

/// Returns all plots. The plots over time show each function's round with the median rate. The percentile curves cover
/// all rounds.
pub(super) fn all(comparison: &Comparison) -> Vec<Plot> {
    let columns = comparison.columns.iter().zip(COLOURS.into_iter().cycle());
    let drawn = columns.filter_map(|(column, colour)| {
        let timeline = &column.median_round()?.timeline;
        Some(Drawn {
            column,
            colour,
            timeline,
        })
    });
    let drawn: Vec<_> = drawn.collect();
    let latencies = drawn.iter().flat_map(|drawn| &drawn.timeline.batches);
    let batches = |drawn: &Drawn<'_>| drawn.series(Mark::Points, thinned(&drawn.timeline.batches));
    let later_batches = |column: &Column| column.rounds.iter().flat_map(later_latencies_ms).collect();
    let calls = |column: &Column| {
        column
            .rounds
            .iter()
            .flat_map(|round| round.timeline.call_ms.clone())
            .collect()
    };
    let mut plots = vec![
        Plot {
            title: "Batch latency".to_owned(),
            x: time_axis(&drawn),
            y: Axis::around("batch latency, ms", latencies.map(|(_, latency)| *latency)),
            series: drawn.iter().map(batches).collect(),
        },
        distribution(
            "Batch latency by percentile, without the first batch",
            &drawn,
            later_batches,
        ),
        distribution(
            "Time of a call at the endpoint by percentile, throttled calls left out",
            &drawn,
            calls,
        ),
    ];
    plots.extend(over_time(
        "Calls in flight at the endpoint",
        "calls in flight",
        &drawn,
        levels,
    ));
    plots.extend(over_time("Calls by outcome", "calls per second", &drawn, outcomes));
    plots
}

fn time_axis(drawn: &[Drawn<'_>]) -> Axis {
    let seconds = drawn.iter().map(|drawn| drawn.timeline.seconds);
    Axis::linear("time since the first event, s", seconds.fold(0.0, f64::max))
}

/// Reduces a long series to the lowest and the highest point of each group of neighbours, so that no outlier is lost.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let by_height = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
    let groups = points.chunks(points.len().div_ceil(POINTS_MAX / 2));
    let kept = groups.flat_map(|group| [group.iter().min_by(by_height), group.iter().max_by(by_height)]);
    kept.flatten().copied().collect()
}

/// Returns the points of a line that keeps the value of each point until the next one, and the last value until `end`.
fn steps(points: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    let ends = points.iter().skip(1).map(|(x, _)| *x).chain([end]);
    points
        .iter()
        .zip(ends)
        .flat_map(|(&(x, y), end)| [(x, y), (end, y)])
        .collect()
}

fn distribution(title: &str, drawn: &[Drawn<'_>], values: impl Fn(&Column) -> Vec<f64>) -> Plot {
    let all: Vec<_> = drawn.iter().map(|drawn| sorted(values(drawn.column))).collect();
    let longest = all.iter().map(Vec::len).max().unwrap_or_default().max(10);
    let count = number(longest as u64);
    let percents = (0..=CURVE_STEPS).map(|step| 100.0 * (1.0 - count.powf(-f64::from(step) / f64::from(CURVE_STEPS))));
    let curve = |(drawn, values): (&Drawn<'_>, &Vec<f64>)| {
        let points = percents
            .clone()
            .filter_map(|percent| Some((percent, percentile(values, percent)?)));
        drawn.series(Mark::Line, points.collect())
    };
    Plot {
        title: title.to_owned(),
        x: Axis::percentiles(count),
        y: Axis::around("time, ms", all.iter().flatten().copied()),
        series: drawn.iter().zip(&all).map(curve).collect(),
    }
}

/// Returns a plot for each function, all with the same axes.
fn over_time(title: &str, unit: &str, drawn: &[Drawn<'_>], series: fn(&Timeline) -> Vec<Series>) -> Vec<Plot> {
    let all: Vec<_> = drawn.iter().map(|drawn| series(drawn.timeline)).collect();
    let y = Axis::linear_around(
        unit,
        all.iter().flatten().flat_map(|series| &series.points).map(|(_, y)| *y),
    );
    let x = time_axis(drawn);
    let plot = |(drawn, series): (&Drawn<'_>, Vec<Series>)| Plot {
        title: format!("{title}: {}", drawn.column.name),
        x: x.clone(),
        y: y.clone(),
        series,
    };
    drawn.iter().zip(all).map(plot).collect()
}

fn levels(timeline: &Timeline) -> Vec<Series> {
    let Timeline {
        seconds,
        in_flight,
        limits,
        ..
    } = timeline;
    let most = in_bins(*seconds, in_flight.iter().map(|level| number(level.most)));
    let mean = in_bins(*seconds, in_flight.iter().map(|level| level.mean));
    let mut all = vec![
        series("the most at once", BLUE.mix(0.3), Mark::Area, most),
        series("on average", BLUE.mix(1.0), Mark::Line, mean),
    ];
    if !limits.is_empty() {
        all.push(series(
            "the function's limit",
            ORANGE.mix(1.0),
            Mark::Line,
            steps(&thinned(limits), *seconds),
        ));
    }
    all
}

/// Returns steps of equal length over a time in seconds.
fn in_bins(seconds: f64, values: impl ExactSizeIterator<Item = f64>) -> Vec<(f64, f64)> {
    let width = seconds / number(values.len() as u64);
    let points: Vec<_> = (0_u32..).map(|bin| f64::from(bin) * width).zip(values).collect();
    steps(&points, seconds)
}

/// Returns the calls per second, stacked by outcome. The last outcome, whose area includes all others, is at the back.
fn outcomes(timeline: &Timeline) -> Vec<Series> {
    let width = timeline.seconds / number(timeline.outcomes.len() as u64);
    let stack = |outcome: &CallOutcome| {
        let rate = |counts: &[u64; 5]| number(counts.iter().take(*outcome as usize + 1).sum()) / width;
        let (name, colour) = match outcome {
            CallOutcome::Answered => ("answered", GREEN),
            CallOutcome::Throttled => ("throttled", RGBColor(0xe0, 0x9f, 0x1f)),
            CallOutcome::Error => ("container error", RGBColor(0xd0, 0x3a, 0x36)),
            CallOutcome::Cancelled => ("cut or hung", RGBColor(0x91, 0x60, 0xc4)),
            CallOutcome::Refused => ("refused", GREY),
        };
        series(
            name,
            colour.mix(1.0),
            Mark::Area,
            in_bins(timeline.seconds, timeline.outcomes.iter().map(rate)),
        )
    };
    CallOutcome::ALL.iter().rev().map(stack).collect()
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
