//! Draws a plot as SVG, in colours that are readable on a light and on a dark background.

use anyhow::Result;
use plotters::prelude::{
    AreaSeries, ChartBuilder, Circle, Color as _, IntoDrawingArea as _, IntoTextStyle as _, LineSeries, RGBAColor,
    RGBColor, Rectangle, SVGBackend, SeriesLabelPosition,
};

use super::axis::Axis;

/// The size of the picture. plotters rounds positions to whole units, so a unit is half a pixel at the original scale.
const SIZE: (u32, u32) = (1860, 640);
/// The width at the right of the plot for the legend.
const LEGEND_WIDTH: u32 = 360;
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
        let text = |size| ("sans-serif", size).with_color(GREY).into_text_style(&root);
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, text(TITLE_SIZE))
            .margin(10)
            .margin_right(LEGEND_WIDTH)
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
        for Series {
            name,
            colour,
            mark,
            points,
        } in &self.series
        {
            let (colour, points) = (*colour, points.iter().copied());
            let drawn = match mark {
                Mark::Points => chart.draw_series(points.map(|at| Circle::new(at, 4, colour.filled()))),
                Mark::Line => chart.draw_series(LineSeries::new(points, colour.stroke_width(3))),
                Mark::Area => chart.draw_series(AreaSeries::new(points, 0.0, colour)),
            };
            let key = move |(x, y)| Rectangle::new([(x, y - 8), (x + 20, y + 12)], colour.filled());
            drawn?.label(name).legend(key);
        }
        let (width, _) = chart.plotting_area().dim_in_pixel();
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::Coordinate(i32::try_from(width)?, 0))
            .label_font(text(FONT_SIZE))
            .draw()?;
        root.present()?;
        drop((chart, root));
        Ok(svg)
    }
}
