//! The plots of a report.

use super::axis::Axis;
use super::comparison::{Column, Comparison};
use super::plot::{Mark, Plot, Point, Series};
use super::quantity::later_latencies_ms;
use super::statistics::{number, percentile, sorted};
use super::timeline::Timeline;
use crate::sagemaker::CallOutcome;

/// The maximum number of points in a series. A longer series is thinned.
const POINTS_MAX: usize = 2000;
/// The number of steps in a percentile curve.
const CURVE_STEPS: u32 = 240;
/// The number of colours for functions. They repeat after that.
const COLOURS: usize = 6;
const TIME_TITLE: &str = "time since the first event, s";

/// A plot with its title.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) plot: Plot,
}

/// The round of a function that the plots over time show.
struct Drawn<'c> {
    column: &'c Column,
    class: String,
    timeline: &'c Timeline,
}

/// Returns all plots. The plots over time show each function's round with the median rate. The percentile curves cover
/// all rounds.
pub(super) fn all(comparison: &Comparison) -> Vec<Figure> {
    let drawn = comparison.columns.iter().enumerate().filter_map(|(index, column)| {
        Some(Drawn {
            column,
            class: format!("c{}", index % COLOURS),
            timeline: &column.median_round()?.timeline,
        })
    });
    let drawn: Vec<_> = drawn.collect();
    let seconds = drawn.iter().map(|drawn| drawn.timeline.seconds).fold(0.0, f64::max);
    let time = Axis::linear(TIME_TITLE, seconds);
    let mut figures = vec![
        latency_over_time(&drawn, time.clone()),
        distribution(
            "Batch latency by percentile, without the first batch",
            &drawn,
            |column| column.rounds.iter().flat_map(later_latencies_ms).collect(),
        ),
        distribution(
            "Time of a call at the endpoint by percentile, throttled calls left out",
            &drawn,
            |column| {
                let calls = column.rounds.iter().map(|round| round.timeline.call_ms.iter());
                calls.flatten().copied().collect()
            },
        ),
    ];
    figures.extend(in_flight(&drawn, &time));
    figures.extend(outcomes(&drawn, &time));
    figures
}

fn latency_over_time(drawn: &[Drawn<'_>], x: Axis) -> Figure {
    let series = drawn.iter().map(|drawn| Series {
        name: drawn.column.name.clone(),
        class: drawn.class.clone(),
        mark: Mark::Points,
        points: thinned(&drawn.timeline.batches),
    });
    let latencies = drawn.iter().flat_map(|drawn| &drawn.timeline.batches);
    Figure {
        title: "Batch latency".to_owned(),
        plot: Plot {
            x,
            y: Axis::around("batch latency, ms", latencies.map(|(_, latency)| *latency)),
            series: series.collect(),
        },
    }
}

/// Reduces a long series to the lowest and the highest point of each group of neighbours, so that no outlier is lost.
fn thinned(points: &[(f64, f64)]) -> Vec<Point> {
    if points.len() <= POINTS_MAX {
        return points.iter().copied().map(Point::from).collect();
    }
    let by_height = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
    let groups = points.chunks(points.len().div_ceil(POINTS_MAX / 2));
    let kept = groups.flat_map(|group| [group.iter().min_by(by_height), group.iter().max_by(by_height)]);
    kept.flatten().copied().map(Point::from).collect()
}

fn distribution(title: &str, drawn: &[Drawn<'_>], values: impl Fn(&Column) -> Vec<f64>) -> Figure {
    let all: Vec<_> = drawn
        .iter()
        .map(|drawn| (drawn, sorted(values(drawn.column))))
        .collect();
    let longest = all.iter().map(|(_, values)| values.len()).max().unwrap_or_default();
    let x = Axis::percentiles("percentile", number(longest as u64));
    let positions = (0..=CURVE_STEPS).map(|step| f64::from(step) / f64::from(CURVE_STEPS));
    let percents: Vec<_> = positions.map(|position| x.percentile_at(position)).collect();
    let series = all.iter().map(|(drawn, values)| {
        let point = |percent: &f64| Some(Point::from((*percent, percentile(values, *percent)?)));
        Series {
            name: drawn.column.name.clone(),
            class: drawn.class.clone(),
            mark: Mark::Line,
            points: percents.iter().filter_map(point).collect(),
        }
    });
    Figure {
        title: title.to_owned(),
        plot: Plot {
            y: Axis::around("time, ms", all.iter().flat_map(|(_, values)| values.iter().copied())),
            series: series.collect(),
            x,
        },
    }
}

/// Returns a plot of the calls in flight for each function, all with the same y axis.
fn in_flight(drawn: &[Drawn<'_>], x: &Axis) -> Vec<Figure> {
    let highest = drawn.iter().flat_map(|Drawn { timeline, .. }| {
        let most = timeline.in_flight.iter().map(|level| number(level.most));
        most.chain(timeline.limits.iter().map(|(_, limit)| *limit))
    });
    let y = Axis::linear_around("calls in flight", highest);
    let figure = |drawn: &Drawn<'_>| Figure {
        title: format!("Calls in flight at the endpoint: {}", drawn.column.name),
        plot: Plot {
            x: x.clone(),
            y: y.clone(),
            series: levels(drawn.timeline),
        },
    };
    drawn.iter().map(figure).collect()
}

fn levels(timeline: &Timeline) -> Vec<Series> {
    let Timeline { seconds, .. } = *timeline;
    let width = seconds / number(timeline.in_flight.len() as u64);
    let levels = || (0_u32..).map(|bin| f64::from(bin) * width).zip(&timeline.in_flight);
    let series = |name: &str, class: &str, mark, points: Vec<Point>| Series {
        name: name.to_owned(),
        class: class.to_owned(),
        mark,
        points,
    };
    let most = levels().map(|(x, level)| Point::from((x, number(level.most))));
    let mean = levels().map(|(x, level)| Point::from((x + width / 2.0, level.mean)));
    let mut all = vec![
        series("the most at once", "most", Mark::Bars(width), most.collect()),
        series("on average", "mean", Mark::Line, mean.collect()),
    ];
    if let Some((_, last)) = timeline.limits.last() {
        let mut limits = thinned(&timeline.limits);
        limits.push(Point::from((seconds, *last)));
        all.push(series("the function's limit", "limit", Mark::Steps, limits));
    }
    all
}

/// Returns a plot of the calls per second for each function, stacked by outcome, all with the same y axis.
fn outcomes(drawn: &[Drawn<'_>], x: &Axis) -> Vec<Figure> {
    let heights = drawn.iter().flat_map(|drawn| {
        let bins = drawn.timeline.outcomes.iter();
        let width = bin_width(drawn.timeline);
        bins.map(move |counts| number(counts.iter().sum()) / width)
    });
    let y = Axis::linear_around("calls per second", heights);
    let figure = |drawn: &Drawn<'_>| Figure {
        title: format!("Calls by outcome: {}", drawn.column.name),
        plot: Plot {
            x: x.clone(),
            y: y.clone(),
            series: CallOutcome::ALL.map(|outcome| stack(drawn.timeline, outcome)).to_vec(),
        },
    };
    drawn.iter().map(figure).collect()
}

fn bin_width(timeline: &Timeline) -> f64 {
    timeline.seconds / number(timeline.outcomes.len() as u64)
}

/// Returns the bars of one outcome. They start at the top of the bars of the outcomes before it.
fn stack(timeline: &Timeline, outcome: CallOutcome) -> Series {
    let (index, width) = (outcome as usize, bin_width(timeline));
    let sum = |counts: &[u64; 5], outcomes: usize| number(counts.iter().take(outcomes).sum()) / width;
    let bins = (0_u32..).zip(&timeline.outcomes);
    let bar = |(bin, counts): (u32, &[u64; 5])| Point {
        x: f64::from(bin) * width,
        low: sum(counts, index),
        y: sum(counts, index + 1),
    };
    let (name, class) = match outcome {
        CallOutcome::Answered => ("answered", "answered"),
        CallOutcome::Throttled => ("throttled", "throttled"),
        CallOutcome::Error => ("container error", "error"),
        CallOutcome::Cancelled => ("cut or hung", "cut"),
        CallOutcome::Refused => ("refused", "refused"),
    };
    Series {
        name: name.to_owned(),
        class: class.to_owned(),
        mark: Mark::Bars(width),
        points: bins.map(bar).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::comparison::tests::comparison;
    use super::*;

    #[test]
    fn each_function_is_in_every_shared_plot_and_has_plots_of_its_own() {
        let figures = all(&comparison());
        let titles: Vec<_> = figures.iter().map(|figure| figure.title.as_str()).collect();
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
        let series = |figure: &Figure| figure.plot.series.len();
        assert_eq!(figures.iter().map(series).collect::<Vec<_>>(), [2, 2, 2, 3, 3, 5, 5]);
        let empty = |series: &Series| series.points.is_empty();
        assert!(!figures.iter().flat_map(|figure| &figure.plot.series).any(empty));
    }

    #[test]
    fn thinning_keeps_the_outliers() {
        let points = (0..100_000).map(|x| (f64::from(x), f64::from(x % 7)));
        let mut points: Vec<_> = points.collect();
        points[4567].1 = 99.0;
        points[4568].1 = -99.0;
        let kept = thinned(&points);
        assert!(kept.len() <= POINTS_MAX, "{}", kept.len());
        assert!(kept.contains(&Point::from((4567.0, 99.0))) && kept.contains(&Point::from((4568.0, -99.0))));
        assert_eq!(thinned(&points[..3]).len(), 3);
    }

    #[test]
    fn bars_of_outcomes_are_stacked() {
        let mut comparison = comparison();
        let mut timeline = comparison.columns.remove(0).rounds.remove(0).timeline;
        timeline.seconds = 60.0;
        timeline.outcomes = vec![[0; 5], [6, 3, 0, 1, 0]];
        let bar = |outcome| {
            let Point { x, low, y } = stack(&timeline, outcome).points[1];
            (x, low, y)
        };
        assert_eq!(bar(CallOutcome::Answered), (30.0, 0.0, 0.2));
        assert_eq!(bar(CallOutcome::Throttled), (30.0, 0.2, 0.3));
        assert_eq!(bar(CallOutcome::Cancelled), (30.0, 0.3, 10.0 / 30.0));
    }
}
