//! Commands and files that the documents show: lines of their `sh` blocks, and their `yaml` blocks.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

/// Folders of documents, relative to the root of the tree.
const FOLDERS: [&str; 4] = ["", "docs", "bench", "deploy"];

/// The program in the image.
const IN_IMAGE: &str = "/firewall-agent";

/// A command in a document.
#[derive(Debug)]
pub struct Documented {
    /// Path of the document, and line of the end of the command, from 1.
    pub position: String,
    /// Program and arguments.
    pub words: Vec<String>,
}

impl fmt::Display for Documented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.words.join(" "))
    }
}

/// Returns the contents of the `yaml` blocks of a document.
#[must_use]
pub fn yaml_blocks(document: &str) -> Vec<&str> {
    let blocks = document.split("```yaml\n").skip(1);
    blocks.filter_map(|rest| rest.split_once("```")).map(|(block, _)| block).collect()
}

/// Returns every command in the documents of the tree that starts with these words.
///
/// # Errors
/// A folder or a document cannot be read.
pub fn commands(root: &Path, program: &[&str]) -> Result<Vec<Documented>> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(root.join(folder))?;
        let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path)?;
            for (number, words) in commands_in(&text) {
                let is_of_program = words.iter().zip(program).filter(|(word, name)| word == name).count();
                if is_of_program == program.len() {
                    found.push(Documented { position: format!("{}:{number}", path.display()), words });
                }
            }
        }
    }
    Ok(found)
}

/// Returns every command of the agent in the documents of the tree: as on a host, or in its pod
/// (`kubectl exec POD -- /firewall-agent …`), without the words before it.
///
/// # Errors
/// A folder or a document cannot be read.
pub fn agent_commands(root: &Path) -> Result<Vec<Documented>> {
    let mut found = commands(root, &["firewall-agent"])?;
    for Documented { position, words } in commands(root, &["kubectl"])? {
        let in_pod =
            words.iter().position(|word| word == "--").filter(|_| words.iter().any(|word| word == "exec"));
        let Some(at) = in_pod else { continue };
        let mut words = words[at + 1..].to_vec();
        anyhow::ensure!(words.first().is_some_and(|word| word == IN_IMAGE), "{position}: not {IN_IMAGE}");
        words[0] = "firewall-agent".to_owned();
        found.push(Documented { position, words });
    }
    Ok(found)
}

/// The simple commands in the `sh` blocks of a document, with the lines on which they end.
fn commands_in(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut is_script = false;
    let mut whole = String::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            is_script = line == "```sh";
        } else if let Some(start) = line.strip_suffix('\\').filter(|_| is_script) {
            whole.push_str(start);
        } else if is_script {
            whole.push_str(line);
            found.extend(simple_commands(&whole).map(|words| (index + 1, words)));
            whole.clear();
        }
    }
    found
}

/// The words of each simple command of a line, without variables, redirections and comments.
fn simple_commands(line: &str) -> impl Iterator<Item = Vec<String>> {
    let script = if line.starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default() };
    script.split(['&', '|', ';']).filter_map(|command| {
        let words = command.split('>').next().unwrap_or_default().split_whitespace();
        let words: Vec<String> = words.skip_while(|word| word.contains('=')).map(str::to_owned).collect();
        (!words.is_empty()).then_some(words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_from_sh_blocks_only() {
        let text = "a b\n```sh\n# c\nA=1 d e   # f\ng \\\n  h && i >j\n```\n```yaml\nk: l\n```\n```sh\nm --n=o | p; q\n```\n";
        let found: Vec<(usize, String)> =
            commands_in(text).into_iter().map(|(line, words)| (line, words.join(" "))).collect();
        let expected = [(4, "d e"), (6, "g h"), (6, "i"), (12, "m --n=o"), (12, "p"), (12, "q")];
        assert_eq!(found, expected.map(|(line, command)| (line, command.to_owned())));
    }
}
