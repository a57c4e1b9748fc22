//! Parser events to a tree, within bounds of depth and size.

use std::borrow::Cow;

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, options};

use crate::rules::{Cause, Note, Problem};

/// Most nested lists and maps. The deepest meaningful file has 4.
const MAX_DEPTH: usize = 8;
/// The parser reads ahead: its own bound is beyond ours, which lets our error come first.
const PARSER_DEPTH: usize = 4 * MAX_DEPTH;
/// Most scalars, lists and maps of one document.
const MAX_NODES: usize = 300_000;

/// Line and column, both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

#[derive(Debug)]
pub(crate) struct Node<'t> {
    pub(super) position: Position,
    /// Source as typed; only the start of lists and maps.
    pub(super) raw: &'t str,
    pub(super) value: Value<'t>,
}

#[derive(Debug)]
pub(super) enum Value<'t> {
    Null,
    Scalar {
        text: Cow<'t, str>,
        plain: bool,
    },
    List(Vec<Node<'t>>),
    /// In file order, duplicates included.
    Map(Vec<(Node<'t>, Node<'t>)>),
}

/// # Errors
/// The first construct that is not YAML, not of the accepted subset, or beyond the bounds.
pub(super) fn parse(text: &str) -> Result<Node<'_>, Problem> {
    let options = options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: PARSER_DEPTH,
        block_nesting_limit: PARSER_DEPTH,
    };
    let mut builder = Builder { text, parser: Parser::new_from_str_with_options(text, options), nodes: 0 };
    builder.document()
}

struct Builder<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    nodes: usize,
}

impl<'t> Builder<'t> {
    fn document(&mut self) -> Result<Node<'t>, Problem> {
        loop {
            match self.next()? {
                (Event::DocumentStart(..), _) => break,
                (Event::StreamStart, _) => {}
                (_, span) => return Err(refusal(&span, "file contains no document")),
            }
        }
        let (event, span) = self.next()?;
        let root = self.node(event, span, 0)?;
        loop {
            match self.next()? {
                (Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => return Ok(root),
                (_, span) => return Err(refusal(&span, "a second document starts here: one file holds one")),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node<'t>, Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(refusal(&span, &format!("file has more than {MAX_NODES} values")));
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else the parser says here is no value")]
        let value = match event {
            Event::Scalar(_, _, 1.., _)
            | Event::SequenceStart(_, 1.., _)
            | Event::MappingStart(_, 1.., _) => {
                return Err(refusal(&span, "anchors (&) are not allowed"));
            }
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(.., Some(_))
            | Event::MappingStart(.., Some(_)) => {
                return Err(refusal(&span, "tags (!) are not allowed"));
            }
            Event::Scalar(text, style, 0, None) => scalar(text, style),
            Event::SequenceStart(_, 0, None) => self.list(within(depth, &span)?)?,
            Event::MappingStart(_, 0, None) => self.map(within(depth, &span)?)?,
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return Err(refusal(&span, "aliases (*) are not allowed"));
            }
            _ => return Err(refusal(&span, "expected a value")),
        };
        Ok(Node { position: position(&span), raw: span.slice(self.text).unwrap_or_default(), value })
    }

    fn list(&mut self, depth: usize) -> Result<Value<'t>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span, depth)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value<'t>, Problem> {
        let mut fields = Vec::new();
        loop {
            match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(fields)),
                (event, span) => {
                    let key = self.node(event, span, depth)?;
                    let (event, span) = self.next()?;
                    fields.push((key, self.node(event, span, depth)?));
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Problem> {
        match self.parser.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(malformed(&error)),
            None => Err(invalid(Position::START, "file contains no document".to_owned())),
        }
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value<'_> {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
        Value::Null
    } else {
        Value::Scalar { text, plain }
    }
}

fn within(depth: usize, span: &Span) -> Result<usize, Problem> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(refusal(span, "lists and maps are nested too deeply")) }
}

fn refusal(span: &Span, message: &str) -> Problem {
    invalid(position(span), message.to_owned())
}

fn malformed(error: &ScanError) -> Problem {
    let at = error.marker();
    let message = format!("not well-formed YAML: {}", error.info());
    invalid(Position { line: at.line() as u64, column: at.col() as u64 + 1 }, message)
}

fn invalid(position: Position, message: String) -> Problem {
    let Position { line, column } = position;
    Problem { cause: Cause::Invalid, note: Note { line, column, path: String::new(), message } }
}

fn position(span: &Span) -> Position {
    Position { line: span.start.line() as u64, column: span.start.col() as u64 + 1 }
}
