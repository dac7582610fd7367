//! The plot: a bar per file and tree, on a logarithmic scale, since the trees differ by powers of
//! ten.

use std::fmt::Write as _;

use super::{Comparison, Measure};

const BAR: f64 = 10.0;
const GAP: f64 = 10.0;
const LEFT: f64 = 210.0;
const WIDTH: f64 = 640.0;
const TOP: f64 = 70.0;

/// What stands at each power of ten of microseconds.
const SCALE: [&str; 5] = ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms"];

/// Steps between them.
const STEPS: f64 = 4.0;

/// Told apart by colour-blind readers too (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#999999", "#000000", "#009e73", "#56b4e9", "#d55e00", "#cc79a7", "#e69f00"];

/// The p50 of every file that is read without a pause.
pub(super) fn plot(comparison: &Comparison) -> String {
    let (mut bars, mut y) = (String::new(), TOP);
    let rows = comparison.table(Measure::Steady(50)).map(|table| table.rows.as_slice());
    for (file, row) in rows.unwrap_or_default() {
        let values: Vec<_> = row.iter().zip(COLOURS.iter().cycle()).collect();
        let middle = y + BAR * count(values.len()) / 2.0 + 4.0;
        bars.push_str(&text(LEFT - 6.0, middle, "end", file));
        for (value, colour) in values {
            if let Some(value) = value {
                bars.push_str(&bar(LEFT, y, along(*value) - LEFT, BAR - 1.0, colour));
            }
            y += BAR;
        }
        y += GAP;
    }
    let (right, height) = (LEFT + WIDTH + 30.0, y + 10.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{right}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}{}{}{bars}</svg>\n",
        text(LEFT, 18.0, "start", "Open, read to the end, close: half of the reads take no longer"),
        legend(comparison),
        grid(y)
    )
}

fn legend(comparison: &Comparison) -> String {
    let mut legend = String::new();
    for ((number, tree), colour) in comparison.trees.iter().enumerate().zip(COLOURS.iter().cycle())
    {
        let x = LEFT + 125.0 * count(number);
        legend.push_str(&bar(x, 28.0, 10.0, 10.0, colour));
        legend.push_str(&text(x + 14.0, 37.0, "start", tree.title()));
    }
    legend
}

fn grid(bottom: f64) -> String {
    let mut grid = String::new();
    for (number, label) in SCALE.iter().enumerate() {
        let x = LEFT + WIDTH * count(number) / STEPS;
        let _ = writeln!(
            grid,
            r##"<line x1="{x}" x2="{x}" y1="{}" y2="{bottom}" stroke="#dddddd"/>"##,
            TOP - 6.0
        );
        grid.push_str(&text(x, TOP - 10.0, "middle", label));
    }
    grid
}

fn bar(x: f64, y: f64, width: f64, height: f64, colour: &str) -> String {
    format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"/>\n"
    )
}

fn text(x: f64, y: f64, anchor: &str, what: &str) -> String {
    let what = what.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{what}</text>\n")
}

/// Where a time, in microseconds, lies on the scale.
fn along(usec: f64) -> f64 {
    LEFT + WIDTH * (usec.max(1.0).log10() / STEPS).min(1.0)
}

#[allow(clippy::cast_precision_loss, reason = "there are a handful of trees and files")]
fn count(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::super::tests::example;
    use super::*;
    use crate::trees::Kind;

    #[test]
    fn a_bar_is_ten_times_as_slow_one_step_further() {
        let step = along(100.0) - along(10.0);
        assert!((step - WIDTH / STEPS).abs() < 0.1, "{step}");
        assert!((along(0.0) - LEFT).abs() < f64::EPSILON);
    }

    #[test]
    fn a_tree_without_the_file_has_no_bar() {
        let plot = plot(&example());
        let bars = plot.matches(&format!("<rect x=\"{LEFT}\" y=\"")).count();
        // 4 files in 5 trees, of which one lacks a file; and the first in the legend.
        assert_eq!(bars, 4 * 5 - 1 + 1, "{plot}");
    }

    #[test]
    fn the_plot_is_well_formed_whatever_a_tree_is_called() {
        if !testkit::need_command("the_plot_is_well_formed_whatever_a_tree_is_called", "python3") {
            return;
        }
        let mut comparison = example();
        comparison.trees.push(Kind::Other("/mnt/<a> & \"b\"".to_owned()));
        let program = "import sys, xml.dom.minidom as d; d.parse(sys.stdin.buffer)";
        let mut python = Command::new("python3");
        let mut child = python.args(["-c", program]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(plot(&comparison).as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
