//! The demo for a terminal.

use std::io::{IsTerminal as _, Stdout, Write as _, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Moment, play};

/// Runs the demo and prints it on standard output, in colour if that is a terminal and `NO_COLOR` is not set.
pub fn narrate(agent: &Path) -> Result<()> {
    let mut printer =
        Printer { out: stdout(), colours: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() };
    let started = Instant::now();
    let mut steps = 0;
    // A closed terminal does not stop the demo: the exit code still reports the result.
    let result = play(agent, &mut |moment| {
        steps += u32::from(matches!(moment, Moment::Begins(_)));
        let _ = printer.print(steps, &moment);
    });
    match result {
        Ok(()) => {
            let end = format!("\nAll {steps} steps came out as stated, in {}.", seconds(started.elapsed()));
            let _ = writeln!(printer.out, "{}", printer.paint(GREEN, &end));
            Ok(())
        }
        Err(error) if steps == 0 => Err(error),
        Err(_) => bail!("step {steps} did not come out as stated"),
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

struct Printer {
    out: Stdout,
    colours: bool,
}

impl Printer {
    fn print(&mut self, number: u32, moment: &Moment<'_>) -> std::io::Result<()> {
        let text = match moment {
            Moment::Ready(map, took) => {
                format!("{map}\n{}", self.paint(DIM, &format!("ready in {}", seconds(*took))))
            }
            Moment::Begins(step) => {
                format!("\n{} {}", self.paint(BOLD, &format!("{number}. {}:", step.title)), step.claim)
            }
            Moment::CameOut(lines, took) => {
                let lines: String = lines.iter().map(|line| format!("   {line}\n")).collect();
                format!("{lines}   {} {}", self.paint(GREEN, "as stated"), self.paint(DIM, &seconds(*took)))
            }
            Moment::Failed(error) => format!("   {} {error:#}", self.paint(RED, "not as stated:")),
        };
        writeln!(self.out, "{text}")
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
