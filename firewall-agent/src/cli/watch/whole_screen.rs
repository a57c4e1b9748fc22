//! The whole terminal, on which each screen replaces the one before.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use ratatui::crossterm::cursor::{Hide, MoveTo, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen, size,
};

use super::Part;

/// The terminal, left as it was when dropped.
#[derive(Debug)]
pub(super) struct WholeScreen {
    /// Modes of the terminal on standard input; `None` when that is none.
    modes: Option<Termios>,
}

impl WholeScreen {
    /// Takes the screen. Typed keys no longer appear on it, and arrive at once.
    pub fn enter() -> Result<Self> {
        let modes = tcgetattr(io::stdin()).ok();
        if let Some(modes) = &modes {
            let mut silent = modes.clone();
            silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON);
            tcsetattr(io::stdin(), SetArg::TCSANOW, &silent).context("cannot set the terminal's modes")?;
        }
        let entered = Self { modes };
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(entered)
    }

    /// Replaces the screen by a title and the lines that fit below it.
    pub fn draw(&mut self, title: &str, text: &str, part: Part) -> io::Result<()> {
        let (_, height) = size()?;
        let lines = fitted(text, usize::from(height).saturating_sub(1), part);
        let mut out = io::stdout().lock();
        let mut screen = Vec::new();
        execute!(screen, MoveTo(0, 0))?;
        for (at, line) in [title].into_iter().chain(lines.iter().map(String::as_str)).enumerate() {
            let start = if at == 0 { "" } else { "\r\n" };
            write!(screen, "{start}{line}")?;
            execute!(screen, Clear(ClearType::UntilNewLine))?;
        }
        execute!(screen, Clear(ClearType::FromCursorDown))?;
        out.write_all(&screen)?;
        out.flush()
    }
}

impl Drop for WholeScreen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, modes);
        }
    }
}

/// The lines that fit, with a line that counts the others.
fn fitted(text: &str, height: usize, part: Part) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<String>>();
    if lines.len() <= height {
        return owned(&lines);
    }
    match part {
        Part::Beginning => {
            let (shown, others) = lines.split_at(height.saturating_sub(1));
            let mut shown = owned(shown);
            shown.push(format!("… {} more lines", others.len()));
            shown
        }
        Part::End => {
            let (head, others) = lines.split_at(1.min(height));
            let (others, shown) = others.split_at(others.len() - height.saturating_sub(2));
            let mut all = owned(head);
            all.push(format!("… {} earlier lines", others.len()));
            all.extend(owned(shown));
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_do_not_fit_are_counted() {
        let text = "head\n1\n2\n3\n4\n";
        let shown = |height, part| fitted(text, height, part).join("|");
        for part in [Part::Beginning, Part::End] {
            assert_eq!(shown(5, part), "head|1|2|3|4");
        }
        assert_eq!(shown(4, Part::Beginning), "head|1|2|… 2 more lines");
        assert_eq!(shown(4, Part::End), "head|… 2 earlier lines|3|4");
        assert_eq!(shown(2, Part::End), "head|… 4 earlier lines");
        assert_eq!(shown(1, Part::Beginning), "… 5 more lines");
    }
}
