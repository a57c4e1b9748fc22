//! Output format of a command.

/// The value of `-o`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people, within the width of the terminal
    #[default]
    Table,
    /// For people, with every column of a table
    Wide,
    /// For programs: field names are an interface
    Json,
}
