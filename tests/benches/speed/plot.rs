//! Plots for the reports.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 520);

pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Draws lines over a logarithmic axis.
pub fn lines(path: &Path, title: &str, axes: (&str, &str), lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let right = points().map(|point| point.0).fold(1.0, f64::max);
    let top = points().map(|point| point.1).fold(0.0, f64::max) * 1.1;
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .build_cartesian_2d((1.0..right).log_scale(), 0.0..top)?;
        chart.configure_mesh().x_desc(axes.0).y_desc(axes.1).draw()?;
        for (number, line) in lines.iter().enumerate() {
            let color = Palette99::pick(number).stroke_width(2);
            let series = LineSeries::new(line.points.iter().copied(), color).point_size(3);
            chart
                .draw_series(series)?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
        }
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).border_style(BLACK);
        labels.draw()?;
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// Draws labelled horizontal bars.
pub fn bars(path: &Path, title: &str, unit: &str, bars: &[(String, f64)]) -> Result<()> {
    let right = bars.iter().map(|bar| bar.1).fold(0.0, f64::max) * 1.12;
    let count = i32::try_from(bars.len())?;
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(270)
            .build_cartesian_2d(0.0..right, (0..count).into_segmented())?;
        let name = |at: &SegmentValue<i32>| match at {
            SegmentValue::CenterOf(at) => usize::try_from(*at)
                .ok()
                .and_then(|at| bars.get(at))
                .map(|bar| bar.0.clone())
                .unwrap_or_default(),
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        };
        chart.configure_mesh().x_desc(unit).y_labels(bars.len()).y_label_formatter(&name).draw()?;
        for (at, (_, value)) in (0..).zip(bars) {
            let corners = [(0.0, SegmentValue::Exact(at)), (*value, SegmentValue::Exact(at + 1))];
            let mut bar = Rectangle::new(corners, Palette99::pick(0).filled());
            bar.set_margin(5, 5, 0, 0);
            chart.draw_series([bar])?;
            let position = (*value, SegmentValue::CenterOf(at));
            chart.draw_series([Text::new(format!(" {value:.2}"), position, ("sans-serif", 14))])?;
        }
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("{}: {error}", path.display()))
}
