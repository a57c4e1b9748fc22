//! The commands of docs/install.md, so that the guests are installed as an operator would do it.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;

/// Returns the lines of the first `sh` block after a heading; a line that ends in a backslash is joined to the next.
pub fn commands(root: &Path, heading: &str) -> Result<Vec<String>> {
    let path = root.join("docs/install.md");
    let text = fs::read_to_string(&path)?;
    let block = block(&text, heading);
    let block = block.with_context(|| format!("{}: no commands after {heading:?}", path.display()))?;
    Ok(block.replace("\\\n", " ").lines().map(str::to_owned).collect())
}

fn block<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\n## {heading}\n"))?;
    let (_, block) = rest.split_once("```sh\n")?;
    Some(block.split_once("```")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_belongs_to_its_heading() {
        let text = "# A\n\n## B\n\n```sh\na\n```\n\n## C\n\nText.\n\n```sh\nb \\\n    c\nd\n```\n";
        assert_eq!(block(text, "C"), Some("b \\\n    c\nd\n"));
        assert_eq!(block(text, "D"), None);
    }
}
