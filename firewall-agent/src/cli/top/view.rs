//! Layout of the screen, for at least 80 columns and 24 lines.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Block, Row, Table};
use unicode_width::UnicodeWidthStr as _;

use super::state::{Rate, TopState};
use crate::cli::style as cli;
use crate::cli::table::{Column, Fitted, column, cut, text};
use crate::escape::escaped;

/// Rows of reasons in each of the two columns.
const REASON_ROWS: u16 = 6;
/// Columns of the borders of a block.
const BORDERS: u16 = 2;

pub(super) fn draw(frame: &mut Frame<'_>, state: &TopState, style: cli::Style) {
    let [head, reasons, databases, denied] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(REASON_ROWS + 2),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ])
    .areas(frame.area());
    let title = Line::from("database firewall: packets per second    q quits").bold();
    let overlay = match state.overlay {
        0 => Line::default(),
        1 => Line::from("1 overlay entry").right_aligned().bold().red(),
        entries => Line::from(format!("{entries} overlay entries")).right_aligned().bold().red(),
    };
    frame.render_widget(title, head);
    frame.render_widget(overlay, head);
    draw_reasons(frame, state, reasons);
    draw_databases(frame, state, databases);
    draw_denied(frame, state, style, denied);
}

/// Packets refused at a socket by as many interfaces as fit, the busiest first; empty without any.
fn at_sockets(state: &TopState, width: usize) -> String {
    let mut sockets: Vec<_> = state.sockets.iter().collect();
    sockets.sort_by(|(_, a), (_, b)| b.per_second.total_cmp(&a.per_second).then(b.total.cmp(&a.total)));
    let described = sockets.iter().map(|(interface, rate)| {
        format!("{} {}/s (total {})", escaped(interface), per_second(**rate), rate.total)
    });
    let described: Vec<String> = described.collect();
    let title = |shown: usize| match described.len() - shown {
        0 => format!("; at a socket, from: {}", described.join(", ")),
        more => format!("; at a socket, from: {}, and {more} more", described[..shown].join(", ")),
    };
    let fitting = (1..=described.len()).rev().map(title).find(|title| title.width() <= width);
    fitting.unwrap_or_default()
}

fn draw_reasons(frame: &mut Frame<'_>, state: &TopState, area: Rect) {
    let cell = |at: usize| match state.reasons.get(at) {
        Some((name, passes, rate)) => {
            let verdict = if *passes { "pass" } else { "drop" };
            [(*name).to_owned(), verdict.to_owned(), per_second(*rate), rate.total.to_string()]
        }
        None => Default::default(),
    };
    let half = usize::from(REASON_ROWS);
    let rows = (0..half).map(|at| {
        let [left, right] = [cell(at), cell(at + half)];
        Row::new(left.into_iter().chain(right))
    });
    let widths = [13, 4, 7, 11, 13, 4, 7, 11].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).block(Block::bordered().title("verdicts: /s, total")), area);
}

fn draw_databases(frame: &mut Frame<'_>, state: &TopState, area: Rect) {
    let mut databases: Vec<_> = state.databases.values().collect();
    databases.sort_by(|a, b| {
        let busy = |one: &super::state::Database| one.allowed.per_second + one.denied.per_second;
        busy(b).total_cmp(&busy(a)).then_with(|| a.id.cmp(&b.id))
    });
    let rows = databases.iter().map(|one| {
        let cells = [
            one.id.clone(),
            one.name.clone(),
            one.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string()),
            one.prefixes.to_string(),
            per_second(one.allowed),
            per_second(one.denied),
            one.denied.total.to_string(),
        ];
        let is_alarming = one.denied.per_second >= 1.0;
        (cells, if is_alarming { Style::new().fg(Color::Yellow) } else { Style::new() })
    });
    let columns = [
        column("DATABASE", 0),
        text("NAME", 5),
        column("REV", 4),
        column("NETS", 6),
        column("ALLOW/s", 2),
        column("DENY/s", 1),
        column("DENIED", 3),
    ];
    let title = format!("databases: {}, busiest first", state.databases.len());
    frame.render_widget(fitted(&columns, rows, area).block(Block::bordered().title(title)), area);
}

fn draw_denied(frame: &mut Frame<'_>, state: &TopState, style: cli::Style, area: Rect) {
    let rows = state.denied.iter().map(|one| {
        let cells = [
            one.source.clone(),
            one.packets.to_string(),
            one.endpoint.clone(),
            one.each(|kind| format!("{} {}", kind.reason, kind.interface.as_deref().unwrap_or(&kind.class))),
            style.time(one.last_seen),
        ];
        (cells, Style::new())
    });
    let columns = [
        column("SOURCE", 0),
        column("PACKETS", 1),
        column("ENDPOINT", 2),
        column("REASON", 3),
        column("LAST SEEN", 4),
    ];
    let title = "most denied sources";
    let sockets =
        at_sockets(state, usize::from(area.width.saturating_sub(BORDERS)).saturating_sub(title.len()));
    let block = Block::bordered().title(format!("{title}{sockets}"));
    frame.render_widget(fitted(&columns, rows, area).block(block), area);
}

/// The rows that the area shows, with the columns that fit.
fn fitted<const N: usize>(
    columns: &[Column; N],
    rows: impl Iterator<Item = ([String; N], Style)>,
    area: Rect,
) -> Table<'static> {
    let rows = rows.take(area.height.into());
    let rows = rows.map(|(cells, style)| (cells.map(|cell| escaped(&cell).into_owned()), style));
    let (cells, styles): (Vec<[String; N]>, Vec<Style>) = rows.unzip();
    let fitted = Fitted::new(columns, &cells, (Some(area.width.saturating_sub(BORDERS).into()), 1));
    let shown = |cells: &[String; N]| {
        let cells = fitted.columns.iter().map(|(at, width)| cut(&cells[*at], *width));
        Row::new(cells.collect::<Vec<_>>())
    };
    let head = Row::new(fitted.columns.iter().map(|(at, _)| columns[*at].head).collect::<Vec<_>>());
    let widths = fitted.columns.iter().map(|(_, width)| u16::try_from(*width).unwrap_or(u16::MAX));
    let rows = cells.iter().zip(styles).map(|(cells, style)| shown(cells).style(style));
    Table::new(rows.collect::<Vec<_>>(), widths.map(Constraint::Length)).header(head.bold())
}

/// Formats a rate in at most seven characters.
fn per_second(rate: Rate) -> String {
    match rate.per_second {
        few if few < 10_000.0 => format!("{few:.0}"),
        many if many < 10_000_000.0 => format!("{:.1}k", many / 1e3),
        most => format!("{:.1}M", most / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::cli::denied::{DeniedKind, DeniedRow};
    use crate::cli::snapshots::{TERMINALS, compare, style};
    use crate::cli::top::state::Database;
    use crate::sync::DatabaseSlot;

    fn state() -> TopState {
        let rate = |total, per_second| Rate { total, per_second };
        let database = |number: u32| Database {
            id: format!("6a316183d0f1f10ecbcca{number:03}"),
            name: format!("orders\u{1b}[2J{number}"),
            revision: Some(42),
            prefixes: 1_030,
            allowed: rate(123_456_789, f64::from(number) * 1_000.0),
            denied: rate(987_654_321, 12_345_678.0),
        };
        let denied = DeniedRow {
            source: "2001:db8:1234:5678:9abc:def0:1234:5678".to_owned(),
            sources: 1,
            database_id: Some("6a316183d0f1f10ecbcca001".to_owned()),
            endpoint: "[2001:db8:2::10]:30092/tcp".to_owned(),
            reason: Some("no_match".to_owned()),
            class: Some("syn".to_owned()),
            hook: Some("xdp"),
            interface: None,
            kinds: vec![DeniedKind {
                reason: "no_match".to_owned(),
                class: "syn".to_owned(),
                hook: "xdp",
                interface: None,
                packets: 123_456_789,
            }],
            packets: 123_456_789,
            first_seen: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::UNIX_EPOCH,
            suggestion: None,
        };
        TopState {
            databases: (0..100).map(|number| (DatabaseSlot(number), database(number))).collect(),
            reasons: firewall_common::Reason::ALL
                .map(|reason| (reason.name(), reason.passes(), rate(1_234_567_890, 1_234_567.8)))
                .into(),
            sockets: [("side0".to_owned(), rate(7_654, 12.0))].into(),
            denied: vec![denied; 100],
            ..TopState::default()
        }
    }

    #[test]
    fn all_sections_fit_80_by_24() {
        for (width, height) in [(80, 24), (200, 60), (40, 10), (1, 1)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &state(), style(None))).unwrap();
            let text = terminal.backend().to_string();
            assert!(!text.contains('\u{1b}'), "{text}");
            if (width, height) != (80, 24) {
                continue;
            }
            println!("{text}");
            for words in [
                "no_match",
                "1234.6k",
                "1234567890",
                "would_deny",
                "fragment",
                "databases: 100",
                "12.3M",
                "side0 12/s (total 7654)",
            ] {
                assert!(text.contains(words), "{words}:\n{text}");
            }
            // The busiest database is first, and at least four rows of both lists fit.
            assert!(text.find("cca099").unwrap() < text.find("cca098").unwrap(), "{text}");
            assert!(text.matches("6a316183d0f1f1").count() >= 4, "{text}");
            assert!(text.matches("2001:db8:1234").count() >= 4, "{text}");
        }
    }

    #[test]
    fn screens_of_top() {
        let screen = |width, height, state: &TopState| {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, state, style(None))).unwrap();
            let text = terminal.backend().to_string().replace(['"', '│', '┌', '┐', '└', '┘', '─'], " ");
            text.lines()
                .map(|line| line.get(1..).unwrap_or_default().trim_end().to_owned() + "\n")
                .collect::<String>()
        };
        let mut state = state();
        for one in state.databases.values_mut() {
            one.name = "orders".to_owned();
        }
        for one in &mut state.denied {
            one.last_seen = crate::cli::snapshots::ago(5);
        }
        let with = |source: &str, endpoint: &str| {
            let (source, endpoint) = (source.to_owned(), endpoint.to_owned());
            let denied = state.denied.iter().map(|one| DeniedRow {
                source: source.clone(),
                endpoint: endpoint.clone(),
                ..one.clone()
            });
            TopState { denied: denied.collect(), ..state.clone() }
        };
        for (name, state) in [
            ("top", with("198.51.100.9", "192.0.2.10:30092/tcp")),
            (
                "top-ipv6",
                with(
                    "2001:db8:1234:5678:9abc:def0:1234:5678",
                    "[2001:db8:2:1234:5678:9abc:def0:10]:30092/tcp",
                ),
            ),
        ] {
            let whole = screen(400, 100, &state);
            for (columns, lines) in TERMINALS {
                compare(name, (columns, lines), &screen(columns, lines, &state), &whole);
            }
        }
    }
}
