//! `firewall-agent top`: databases, rates of verdicts and the most refused sources, live.

mod state;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use self::state::TopState;
use super::settings::Located;
use super::style::Style;
use super::{BadInput, Exit};
use crate::bpf::Kernel;

/// Time between two readings of the kernel.
const EVERY: Duration = Duration::from_secs(1);

/// Shows the kernel's counters until the user presses q.
pub(super) fn top(directories: &Located, style: Style) -> Result<Exit> {
    let kernel = Kernel::open(&directories.bpffs_dir)?;
    let mut state = TopState::new(&kernel, directories)?;
    if !io::stdout().is_terminal() {
        return Err(BadInput(
            "top: standard output is not a terminal; use `status -o json` in programs".to_owned(),
        )
        .into());
    }
    let mut terminal = ratatui::try_init()?;
    let ended = watch(&mut terminal, (&kernel, directories), &mut state, style);
    ratatui::try_restore()?;
    ended.map(|()| Exit::Done)
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    (kernel, directories): (&Kernel, &Located),
    state: &mut TopState,
    style: Style,
) -> Result<()> {
    let mut refreshed = Instant::now();
    loop {
        let style = Style { now: Timestamp::now(), ..style };
        terminal.draw(|frame| view::draw(frame, state, style))?;
        if event::poll(EVERY.saturating_sub(refreshed.elapsed()))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let interrupted = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            if interrupted || [KeyCode::Char('q'), KeyCode::Esc].contains(&key.code) {
                return Ok(());
            }
        }
        if refreshed.elapsed() >= EVERY {
            state.refresh(kernel, directories, refreshed.elapsed())?;
            refreshed = Instant::now();
        }
    }
}
