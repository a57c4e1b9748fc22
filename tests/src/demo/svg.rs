//! A terminal's screen as an SVG picture.

use std::fmt::Write as _;

use vt100::{Cell, Color, Screen};

/// Size of a character cell, in SVG user units.
const WIDTH: usize = 8;
const HEIGHT: usize = 17;
const MARGIN: usize = 12;
const PAPER: &str = "#14161b";
const INK: &str = "#d8dee9";
/// The eight ANSI colours.
const COLOURS: [&str; 8] =
    ["#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9"];

/// Draws the screen down to its last non-empty line, below the command that produced it.
pub fn svg(title: &str, screen: &Screen) -> String {
    let (rows, columns) = screen.size();
    let used =
        (0..rows).rev().find(|row| !line(screen, *row, columns).trim().is_empty()).map_or(0, |row| row + 1);
    let (width, height) =
        (usize::from(columns) * WIDTH + 2 * MARGIN, (usize::from(used) + 1) * HEIGHT + 2 * MARGIN);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-size=\"13.29\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{PAPER}\"/>\n"
    );
    text(&mut picture, (0, 0), title, "#7f8899", true);
    for row in 0..used {
        let mut column = 0;
        while column < columns {
            let Some(first) = screen.cell(row, column) else { break };
            let start = column;
            let mut run = String::new();
            while let Some(cell) = screen.cell(row, column).filter(|cell| alike(cell, first)) {
                run.push_str(if cell.has_contents() { cell.contents() } else { " " });
                column += 1;
            }
            // Leading spaces are skipped: each run starts at its first visible character.
            let shown = run.trim_start_matches(' ');
            let skipped = u16::try_from(run.len() - shown.len()).unwrap_or(0);
            text(&mut picture, (start + skipped, row + 1), shown.trim_end(), ink(first), first.bold());
        }
    }
    picture.push_str("</svg>\n");
    picture
}

fn line(screen: &Screen, row: u16, columns: u16) -> String {
    screen.rows(0, columns).nth(usize::from(row)).unwrap_or_default()
}

fn alike(one: &Cell, other: &Cell) -> bool {
    one.fgcolor() == other.fgcolor() && one.bold() == other.bold()
}

fn ink(cell: &Cell) -> &'static str {
    match cell.fgcolor() {
        Color::Idx(number) => COLOURS[usize::from(number % 8)],
        Color::Default | Color::Rgb(..) => INK,
    }
}

/// Draws a run of characters of one style; `textLength` fixes its width for every font.
fn text(picture: &mut String, (column, row): (u16, u16), run: &str, ink: &str, bold: bool) {
    let count = run.chars().count();
    if run.trim().is_empty() {
        return;
    }
    let (x, y) = (MARGIN + usize::from(column) * WIDTH, MARGIN + (usize::from(row) + 1) * HEIGHT - 4);
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let run = run.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        picture,
        "<text x=\"{x}\" y=\"{y}\" fill=\"{ink}\"{weight} textLength=\"{}\" xml:space=\"preserve\">{run}</text>",
        count * WIDTH
    );
}
