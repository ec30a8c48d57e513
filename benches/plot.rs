//! How time and memory grow, as a picture: both axes are logarithmic, so a straight line is a power and its slope the exponent.

use plotters::prelude::*;

use super::table::Row;

/// A line of the picture.
struct Line {
    name: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn of(name: &'static str, color: RGBColor, rows: &[&Row], value: impl Fn(&Row) -> Option<f64>) -> Self {
        let points = rows.iter().filter_map(|row| Some((row.size as f64, value(row)?)));
        Self {
            name,
            color,
            points: points.collect(),
        }
    }
}

/// Draws the rows whose size grows.
pub fn draw(rows: &[Row], path: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let of = |what: &str| rows.iter().filter(|row| row.what.starts_with(what)).collect::<Vec<_>>();
    let (idle, issue) = (
        of("nothing due"),
        rows.iter()
            .filter(|row| row.what.ends_with(" certificates"))
            .collect::<Vec<_>>(),
    );
    let seconds = |row: &Row| Some(row.seconds);
    let floor = |row: &Row| row.floor_seconds;
    let charts = [
        (
            "nothing due: seconds",
            vec![
                Line::of("a run", BLUE, &idle, seconds),
                Line::of("the same requests raw", RED, &idle, floor),
            ],
        ),
        (
            "nothing due: MiB",
            vec![Line::of("a run", BLUE, &idle, |row| Some(row.peak_mib))],
        ),
        (
            "all due: seconds",
            vec![
                Line::of("a run", BLUE, &issue, seconds),
                Line::of("a bare ACME loop", RED, &issue, floor),
            ],
        ),
    ];
    let root = SVGBackend::new(path, (1_080, 320)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, (title, lines)) in root.split_evenly((1, 3)).iter().zip(&charts) {
        let all = || lines.iter().flat_map(|line| &line.points);
        let (Some(x), Some(y)) = (range(all().map(|point| point.0)), range(all().map(|point| point.1))) else {
            continue;
        };
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(50)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        chart.configure_mesh().light_line_style(WHITE).draw()?;
        for line in lines {
            let color = line.color;
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), &color))?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
            chart.draw_series(line.points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()?;
    }
    root.present()?;
    Ok(())
}

/// From below the least to above the most.
fn range(values: impl Iterator<Item = f64> + Clone) -> Option<std::ops::Range<f64>> {
    let least = values.clone().min_by(f64::total_cmp)?;
    let most = values.max_by(f64::total_cmp)?;
    Some(least / 1.5..most * 1.5)
}
