//! Standard output: redrawn in place on a terminal, plain lines elsewhere, one line of JSON where that is asked for.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::figures::{self, Figures};

/// What is printed to.
#[derive(Debug)]
pub struct Screen {
    style: Style,
    /// Lines of the table that the cursor stands under.
    drawn: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// A terminal that can move its cursor.
    Terminal { colours: bool },
    /// A file, a pipe, or a terminal that only prints.
    Plain,
    /// A program that reads one line.
    Json,
}

impl Screen {
    /// Standard output as it is.
    pub fn new(json: bool) -> Screen {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let style = match json {
            true => Style::Json,
            false if io::stdout().is_terminal() && !dumb => Style::Terminal { colours: !set("NO_COLOR") },
            false => Style::Plain,
        };
        Screen { style, drawn: 0 }
    }

    /// How often figures are shown, if at all.
    pub fn shows_figures_every(&self) -> Option<Duration> {
        match self.style {
            Style::Terminal { .. } => Some(Duration::from_secs(1)),
            Style::Plain => Some(Duration::from_secs(10)),
            Style::Json => None,
        }
    }

    /// Says something to whoever reads; where a program reads, on standard error.
    pub fn say(&mut self, text: &str) -> Result<()> {
        if self.style == Style::Json {
            // Nobody may listen there.
            let _ = writeln!(io::stderr(), "shoal: {text}");
            return Ok(());
        }
        // Under a table the terminal may have written ^C.
        let clear = if self.drawn > 0 { "\r\x1b[2K" } else { "" };
        self.drawn = 0;
        print(&format!("{clear}{text}\n"))
    }

    /// Prints the one line for programs.
    pub fn json(&mut self, value: &Value) -> Result<()> {
        print(&format!("{value}\n"))
    }

    /// Shows figures, on a terminal over the last ones.
    pub fn show(&mut self, figures: &[Figures]) -> Result<()> {
        match self.style {
            Style::Terminal { colours } => {
                let failing = figures.iter().map(|pool| pool.errors > 0);
                let lines = painted(figures::table(figures), failing, colours);
                let text = over(&lines, self.drawn);
                self.drawn = lines.len();
                print(&text)
            }
            Style::Plain => print(&format!("{}\n", figures::line(figures))),
            Style::Json => Ok(()),
        }
    }
}

/// Whoever read us may be gone: an error, so that the demo ends in order.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to standard output")
}

/// The heading dim, and a pool with errors red.
fn painted(lines: Vec<String>, failing: impl Iterator<Item = bool>, colours: bool) -> Vec<String> {
    if !colours {
        return lines;
    }
    let paints = std::iter::once("2").chain(failing.map(|failing| if failing { "31" } else { "0" }));
    lines.into_iter().zip(paints).map(|(line, paint)| format!("\x1b[{paint}m{line}\x1b[0m")).collect()
}

/// The bytes that put these lines over the `drawn` lines above the cursor. While they are written, what is too long for
/// the terminal is cut off instead of wrapped: a wrapped line would be two to go up over.
fn over(lines: &[String], drawn: usize) -> String {
    let mut text = String::from("\x1b[?7l");
    if drawn > 0 {
        text.push_str(&format!("\x1b[{drawn}A"));
    }
    for line in lines {
        text.push_str(&format!("\r\x1b[2K{line}\n"));
    }
    text.push_str("\x1b[?7h");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_drawn_over_the_last_ones() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(over(&lines, 0), "\x1b[?7l\r\x1b[2Ka\n\r\x1b[2Kb\n\x1b[?7h");
        assert_eq!(over(&lines, 2), "\x1b[?7l\x1b[2A\r\x1b[2Ka\n\r\x1b[2Kb\n\x1b[?7h");
    }

    #[test]
    fn colours_are_added_only_where_wanted() {
        let lines = || vec!["heading".to_owned(), "good".to_owned(), "bad".to_owned()];
        let failing = || [false, true].into_iter();
        assert_eq!(painted(lines(), failing(), false), lines());
        assert_eq!(
            painted(lines(), failing(), true),
            ["\x1b[2mheading\x1b[0m", "\x1b[0mgood\x1b[0m", "\x1b[31mbad\x1b[0m",]
        );
    }
}
