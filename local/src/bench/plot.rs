//! Draws a plot as SVG for an HTML page. The page's style sheet sets the colours by class.

use std::fmt::Write as _;

use super::axis::Axis;

/// The size of the picture and of its margins, in pixels at the original scale.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 46.0;

/// The drawing style of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mark {
    Points,
    Line,
    /// A line that keeps the value of each point until the next point.
    Steps,
    /// Bars of this width, in units of the x axis. The left edge of a bar is at the x of its point.
    Bars(f64),
}

/// A point, or a bar from `low` to `y`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) low: f64,
    pub(super) y: f64,
}

impl From<(f64, f64)> for Point {
    fn from((x, y): (f64, f64)) -> Self {
        Self { x, low: 0.0, y }
    }
}

/// A named series of points.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Its name in the legend.
    pub(super) name: String,
    /// The CSS class that sets its colour.
    pub(super) class: String,
    pub(super) mark: Mark,
    pub(super) points: Vec<Point>,
}

/// Two axes and the series between them. The first series is drawn at the back.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

impl Plot {
    pub(super) fn svg(&self) -> String {
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
        self.axes(&mut svg);
        for series in &self.series {
            _ = writeln!(svg, "<g class=\"{}\">{}</g>", series.class, self.draw(series));
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.position(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.position(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in self.y.ticks() {
            let y = self.y(value);
            _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            let (x, y) = (LEFT - 8.0, y + 4.0);
            _ = writeln!(svg, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{label}</text>");
        }
        for (value, label) in self.x.ticks() {
            let x = self.x(value);
            _ = writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
            let y = bottom + 17.0;
            _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>"
            );
        }
        _ = writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>");
        let (middle, height) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, bottom));
        let (x_title, y_title, y) = (&self.x.title, &self.y.title, HEIGHT - 8.0);
        _ = writeln!(
            svg,
            "<text class=\"title\" x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{x_title}</text>"
        );
        _ = writeln!(
            svg,
            "<text class=\"title\" transform=\"translate(16 {height}) rotate(-90)\" text-anchor=\"middle\">{y_title}</text>"
        );
    }

    fn draw(&self, series: &Series) -> String {
        let at = |point: &Point| (self.x(point.x), self.y(point.y));
        let mut svg = String::new();
        match series.mark {
            Mark::Points => {
                for (x, y) in series.points.iter().map(at) {
                    // A line of zero length with a round cap takes fewer characters than a circle.
                    _ = write!(svg, "M{x:.1} {y:.1}h0");
                }
                format!("<path class=\"points\" d=\"{svg}\"/>")
            }
            Mark::Line | Mark::Steps => {
                for (x, y) in series.points.iter().map(at) {
                    _ = match (series.mark, svg.is_empty()) {
                        (_, true) => write!(svg, "M{x:.1} {y:.1}"),
                        (Mark::Steps, false) => write!(svg, "H{x:.1}V{y:.1}"),
                        (Mark::Line | Mark::Points | Mark::Bars(_), false) => write!(svg, "L{x:.1} {y:.1}"),
                    };
                }
                format!("<path class=\"line\" d=\"{svg}\"/>")
            }
            Mark::Bars(width) => {
                for point in series.points.iter().filter(|point| point.y > point.low) {
                    let (left, right) = (self.x(point.x), self.x(point.x + width));
                    let (low, high) = (self.y(point.low), self.y(point.y));
                    _ = write!(svg, "M{left:.1} {low:.1}V{high:.1}H{right:.1}V{low:.1}z");
                }
                format!("<path class=\"bars\" d=\"{svg}\"/>")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(mark: Mark) -> String {
        let points = [(0.0, 0.0), (5.0, 10.0), (10.0, 5.0)].map(Point::from);
        let series = Series {
            name: "name".to_owned(),
            class: "c0".to_owned(),
            mark,
            points: points.to_vec(),
        };
        let plot = Plot {
            x: Axis::linear("time, s", 10.0),
            y: Axis::linear("latency, ms", 10.0),
            series: vec![series],
        };
        plot.svg()
    }

    #[test]
    fn marks_are_drawn_at_their_values() {
        for (mark, expected) in [
            (Mark::Points, "M70.0 254.0h0M457.0 10.0h0M844.0 132.0h0"),
            (Mark::Line, "M70.0 254.0L457.0 10.0L844.0 132.0"),
            (Mark::Steps, "M70.0 254.0H457.0V10.0H844.0V132.0"),
            (
                Mark::Bars(1.0),
                "M457.0 254.0V10.0H534.4V254.0zM844.0 254.0V132.0H844.0V254.0z",
            ),
        ] {
            let svg = plot(mark);
            assert!(svg.contains(expected), "{mark:?}: {svg}");
        }
    }

    #[test]
    fn both_axes_have_a_title_and_ticks() {
        let svg = plot(Mark::Line);
        for text in [">time, s<", ">latency, ms<", ">0<", ">10<"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }
}
