//! `firewall-agent top`: databases, rates of verdicts and the most refused sources, live.

mod state;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use self::state::TopState;
use super::settings::Located;
use super::{BadInput, Exit};
use crate::bpf::Kernel;

/// Time between two readings of the kernel.
const EVERY: Duration = Duration::from_secs(1);

/// Shows the kernel's counters until the user presses q.
pub(super) fn top(places: &Located) -> Result<Exit> {
    let kernel = Kernel::open(&places.bpffs_dir)?;
    let mut scene = TopState::new(&kernel)?;
    if !io::stdout().is_terminal() {
        return Err(BadInput(
            "top: standard output is not a terminal; use `status -o json` in programs".to_owned(),
        )
        .into());
    }
    let mut terminal = ratatui::try_init()?;
    let ended = watch(&mut terminal, &kernel, &mut scene);
    ratatui::try_restore()?;
    ended.map(|()| Exit::Done)
}

fn watch(terminal: &mut ratatui::DefaultTerminal, kernel: &Kernel, scene: &mut TopState) -> Result<()> {
    let mut looked = Instant::now();
    loop {
        terminal.draw(|frame| view::draw(frame, scene))?;
        if event::poll(EVERY.saturating_sub(looked.elapsed()))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let interrupted = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            if interrupted || [KeyCode::Char('q'), KeyCode::Esc].contains(&key.code) {
                return Ok(());
            }
        }
        if looked.elapsed() >= EVERY {
            scene.look(kernel, looked.elapsed())?;
            looked = Instant::now();
        }
    }
}
