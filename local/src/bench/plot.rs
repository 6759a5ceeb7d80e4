//! Draws a plot as SVG, in colours that are readable on a light and on a dark background.

use anyhow::Result;
use plotters::prelude::{
    AreaSeries, ChartBuilder, Circle, Color as _, IntoDrawingArea as _, IntoTextStyle as _, LineSeries, RGBAColor,
    RGBColor, Rectangle, SVGBackend,
};

use super::axis::Axis;

/// The size of the picture. plotters rounds positions to whole units, so a unit is half a pixel at the original scale.
const SIZE: (u32, u32) = (1860, 640);
/// The width of the legend, at the right.
const LEGEND_WIDTH: u32 = 330;
/// In plotters, the size of a font is the height of its line. The letters in the SVG are smaller by a factor of 1.24.
const FONT_SIZE: u32 = 32;
const TITLE_SIZE: u32 = 38;
const GREY: RGBColor = RGBColor(0x78, 0x78, 0x78);

/// The drawing style of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Points,
    Line,
    /// The area below the line.
    Area,
}

/// A named series of points.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Its name in the legend.
    pub(super) name: String,
    pub(super) colour: RGBAColor,
    pub(super) mark: Mark,
    pub(super) points: Vec<(f64, f64)>,
}

/// Two axes and the series between them. The first series is drawn at the back.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

impl Plot {
    pub(super) fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let (area, legend) = root.split_horizontally(SIZE.0 - LEGEND_WIDTH);
        let text = |size| ("sans-serif", size).with_color(GREY).into_text_style(&root);
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, text(TITLE_SIZE))
            .margin(10)
            .margin_right(30)
            .x_label_area_size(90)
            .y_label_area_size(140)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        chart
            .configure_mesh()
            .x_desc(&self.x.title)
            .y_desc(&self.y.title)
            .x_labels(10)
            .y_labels(7)
            .label_style(text(FONT_SIZE))
            .axis_style(GREY)
            .bold_line_style(GREY.mix(0.35))
            .light_line_style(GREY.mix(0.15))
            .draw()?;
        for series in &self.series {
            let (colour, points) = (series.colour, series.points.iter().copied());
            match series.mark {
                Mark::Points => chart.draw_series(points.map(|at| Circle::new(at, 4, colour.filled())))?,
                Mark::Line => chart.draw_series(LineSeries::new(points, colour.stroke_width(3)))?,
                Mark::Area => chart.draw_series(AreaSeries::new(points, 0.0, colour))?,
            };
        }
        for (y, Series { name, colour, .. }) in (60..).step_by(40).zip(&self.series) {
            legend.draw(&Rectangle::new([(0, y), (20, y + 20)], colour.filled()))?;
            legend.draw_text(name, &text(FONT_SIZE), (32, y))?;
        }
        root.present()?;
        drop((chart, area, legend, root));
        Ok(svg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_titles_ticks_a_legend_and_its_marks_at_their_values() {
        let series = |mark| Series {
            name: format!("{mark:?} & more"),
            colour: GREY.mix(1.0),
            mark,
            points: vec![(0.0, 0.0), (10.0, 10.0)],
        };
        let plot = Plot {
            title: "latency over time".to_owned(),
            x: Axis::linear("time, s", 10.0),
            y: Axis::linear("latency, ms", 10.0),
            series: [Mark::Area, Mark::Points, Mark::Line].map(series).to_vec(),
        };
        let svg = plot.svg().unwrap();
        for text in [
            "latency over time",
            "time, s",
            "latency, ms",
            "0",
            "10",
            "Area &amp; more",
        ] {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text}: {svg}");
        }
        // The plot ends 30 units before the legend, and below the title.
        let right = SIZE.0 - LEGEND_WIDTH - 30 - 1;
        for mark in [
            format!("<circle cx=\"{right}\" cy=\"51\""),
            format!("points=\"150,539 {right},51 \""),
            format!("points=\"150,539 {right},51 {right},539 150,539 \""),
        ] {
            assert!(svg.contains(&mark), "{mark}: {svg}");
        }
    }
}
