//! Layout of the scene on a screen of at least 80 columns and 24 lines.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Block, Row, Table};

use super::state::{Rate, TopState};
use crate::escape::escaped;

/// Rows of reasons in each of the two columns.
const REASON_ROWS: u16 = 5;

pub(super) fn draw(frame: &mut Frame<'_>, state: &TopState) {
    let [head, reasons, databases, denied] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(REASON_ROWS + 2),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ])
    .areas(frame.area());
    frame.render_widget(Line::from("database firewall: packets per second    q quits").bold(), head);
    draw_reasons(frame, state, reasons);
    draw_databases(frame, state, databases);
    draw_denied(frame, state, denied);
}

/// Packets refused at a socket, by interface, the busiest first; `None` without any.
fn at_sockets(state: &TopState) -> Option<String> {
    let mut sockets: Vec<_> = state.sockets.iter().collect();
    sockets.sort_by(|(_, a), (_, b)| b.per_second.total_cmp(&a.per_second).then(b.total.cmp(&a.total)));
    let described = sockets.iter().map(|(interface, rate)| {
        format!("{} {}/s (total {})", escaped(interface), per_second(**rate), rate.total)
    });
    let all = described.collect::<Vec<_>>().join(", ");
    (!all.is_empty()).then(|| format!("at a socket, from: {all}"))
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
    let widths = [13, 4, 8, 11, 13, 4, 8, 11].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).block(Block::bordered().title("verdicts: /s, total")), area);
}

fn draw_databases(frame: &mut Frame<'_>, state: &TopState, area: Rect) {
    let mut databases: Vec<_> = state.databases.values().collect();
    databases.sort_by(|a, b| {
        let busy = |one: &super::state::Database| one.allowed.per_second + one.denied.per_second;
        busy(b).total_cmp(&busy(a)).then_with(|| a.id.cmp(&b.id))
    });
    let rows = databases.iter().map(|one| {
        Row::new([
            escaped(&one.id).into_owned(),
            escaped(&one.name).into_owned(),
            one.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string()),
            one.prefixes.to_string(),
            per_second(one.allowed),
            per_second(one.denied),
            one.denied.total.to_string(),
        ])
        .style(if one.denied.per_second >= 1.0 {
            Style::new().fg(Color::Yellow)
        } else {
            Style::new()
        })
    });
    let widths = [
        // Length of the provider's ids.
        Constraint::Length(24),
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(9),
    ];
    let head = Row::new(["DATABASE", "NAME", "REV", "NETS", "ALLOW/s", "DENY/s", "DENIED"]).bold();
    let title = format!("databases: {}, busiest first", state.databases.len());
    frame.render_widget(Table::new(rows, widths).header(head).block(Block::bordered().title(title)), area);
}

fn draw_denied(frame: &mut Frame<'_>, state: &TopState, area: Rect) {
    let rows = state.denied.iter().take(usize::from(area.height)).map(|one| {
        Row::new([
            one.source.clone(),
            one.packets.to_string(),
            one.endpoint.clone(),
            format!("{} {}", one.reason, one.interface.as_deref().unwrap_or(one.class)),
            one.last_seen.strftime("%H:%M:%S").to_string(),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Fill(1),
        Constraint::Length(14),
        Constraint::Length(8),
    ];
    let head = Row::new(["SOURCE", "PACKETS", "ENDPOINT", "REASON", "LAST UTC"]).bold();
    let titles = ["most denied sources".to_owned()].into_iter().chain(at_sockets(state));
    let block = Block::bordered().title(titles.collect::<Vec<_>>().join("; "));
    frame.render_widget(Table::new(rows, widths).header(head).block(block), area);
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
    use crate::cli::denied::DeniedRow;
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
            reason: "no_match",
            class: "syn",
            hook: "xdp",
            interface: None,
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
            terminal.draw(|frame| draw(frame, &state())).unwrap();
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
            // The busiest database is first, and at least five rows of both lists fit.
            assert!(text.find("cca099").unwrap() < text.find("cca098").unwrap(), "{text}");
            assert!(text.matches("6a316183d0f1f1").count() >= 5, "{text}");
            assert!(text.matches("2001:db8:1234").count() >= 5, "{text}");
        }
    }
}
