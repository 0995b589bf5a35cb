//! From tokens to a [`Script`]. A cursor with one token of look-ahead (two where ports are told from
//! flags); one file per part of the language.

mod call;
mod encapsulation;
mod icmp;
mod packet;
mod tcp_options;

use crate::ast::{Action, Command, Event, Micros, OptionLine, Pos, Script, When};
use crate::lex::{Kind, LexError, Token, lex};
use thiserror::Error;

/// Text that is no script.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ParseError {
    /// Where.
    pub pos: Pos,
    /// What is wrong there.
    pub message: String,
}

impl From<LexError> for ParseError {
    fn from(error: LexError) -> Self {
        Self {
            pos: error.pos,
            message: error.message,
        }
    }
}

type Result<T> = std::result::Result<T, ParseError>;

/// Names and the text that stands for each (`-D`, `--define`).
pub type Defines = [(String, String)];

/// Parses a script.
///
/// # Errors
/// The first place that does not follow the language, or that uses a part of it that the runner does not have.
pub fn parse(text: &str) -> Result<Script> {
    parse_with(text, &[])
}

/// As [`parse`], with names that stand for other text. A `--define=NAME=TEXT` line of the script's own
/// comes before one of the same name in `defines`.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(text: &str, defines: &Defines) -> Result<Script> {
    let mut cursor = Cursor {
        tokens: substitute(lex(text)?, defines)?,
        at: 0,
        depth: 0,
    };
    let mut script = Script {
        options: cursor.options(),
        init: cursor.command(),
        ..Script::default()
    };
    while !cursor.at_end() {
        if let Some(command) = cursor.command() {
            if !cursor.at_end() {
                return cursor.fail("an event, which starts with a time");
            }
            script.cleanup = Some(command);
            break;
        }
        script.events.push(cursor.event()?);
    }
    if script.events.is_empty() {
        // It would pass without having looked at anything.
        return cursor.error("the script has no events");
    }
    Ok(script)
}

/// Puts the text of each defined name in the name's place. What comes in is not looked at again.
fn substitute(tokens: Vec<Token>, defines: &Defines) -> Result<Vec<Token>> {
    let own = tokens.iter().map_while(|token| match &token.kind {
        Kind::Option(name, value) => Some((name, value, token.pos)),
        _ => None,
    });
    let mut names: Vec<(String, Vec<Token>)> = Vec::new();
    for (_, value, pos) in own.filter(|(name, ..)| *name == "define") {
        let define = value.as_deref().and_then(|value| value.split_once('='));
        let Some((name, text)) = define else {
            let message = "--define needs a name and its text: --define=NAME=TEXT".to_owned();
            return Err(ParseError { pos, message });
        };
        names.push((name.to_owned(), lex(text)?));
    }
    for (name, text) in defines {
        names.push((name.clone(), lex(text)?));
    }
    let text_of = |kind: &Kind| {
        let Kind::Word(word) = kind else { return None };
        names.iter().find(|(name, _)| name == word)
    };
    let mut out = Vec::with_capacity(tokens.len());
    for token in tokens {
        if out.len() > TOKENS_MAX {
            let message = "the defined names make this script too long".to_owned();
            return Err(ParseError {
                pos: token.pos,
                message,
            });
        }
        match text_of(&token.kind) {
            Some((_, text)) => out.extend(text.iter().map(|piece| Token {
                kind: piece.kind.clone(),
                pos: token.pos,
            })),
            None => out.push(token),
        }
    }
    Ok(out)
}

/// Nested expressions deeper than this are refused.
const DEPTH_MAX: u32 = 32;

/// Tokens that a script may have once names are replaced.
const TOKENS_MAX: usize = 4_000_000;

struct Cursor {
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
}

impl Cursor {
    fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn peek(&self) -> Option<&Kind> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Kind> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    fn pos(&self) -> Pos {
        let index = self.at.min(self.tokens.len().saturating_sub(1));
        self.tokens
            .get(index)
            .map(|token| token.pos)
            .unwrap_or_default()
    }

    fn next(&mut self) -> Option<Kind> {
        let kind = self.peek().cloned();
        self.at += 1;
        kind
    }

    /// The error "expected `what`, found ...".
    fn fail<T>(&self, what: &str) -> Result<T> {
        let found = self
            .peek()
            .map_or_else(|| "the end of the script".to_owned(), describe);
        self.error(format!("expected {what}, found {found}"))
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(ParseError {
            pos: self.pos(),
            message: message.into(),
        })
    }

    fn is_punct(&self, wanted: char) -> bool {
        self.peek() == Some(&Kind::Punct(wanted))
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.is_punct(wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        if self.eat(wanted) {
            Ok(())
        } else {
            self.fail(&format!("'{wanted}'"))
        }
    }

    fn is_word(&self, wanted: &str) -> bool {
        matches!(self.peek(), Some(Kind::Word(word)) if word == wanted)
    }

    fn eat_word(&mut self, wanted: &str) -> bool {
        let found = self.is_word(wanted);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, what: &str) -> Result<String> {
        match self.peek() {
            Some(Kind::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            _ => self.fail(what),
        }
    }

    /// An integer that fits in `T`.
    fn int<T: TryFrom<i64>>(&mut self, what: &str) -> Result<T> {
        let Some(Kind::Int(value, _)) = self.peek() else {
            return self.fail(what);
        };
        match T::try_from(*value) {
            Ok(value) => {
                self.at += 1;
                Ok(value)
            }
            Err(_) => self.error(format!("{value} is out of range for {what}")),
        }
    }

    fn options(&mut self) -> Vec<OptionLine> {
        let mut options = Vec::new();
        while let Some(Kind::Option(name, value)) = self.peek() {
            options.push(OptionLine {
                name: name.clone(),
                value: value.clone(),
                pos: self.pos(),
            });
            self.at += 1;
        }
        options
    }

    fn command(&mut self) -> Option<Command> {
        let Some(Kind::Backtick(text)) = self.peek() else {
            return None;
        };
        let command = Command {
            text: text.clone(),
            pos: self.pos(),
        };
        self.at += 1;
        Some(command)
    }

    fn event(&mut self) -> Result<Event> {
        let pos = self.pos();
        let time = self.when()?;
        let action = match self.peek() {
            Some(Kind::Punct('<' | '>')) => Action::Packet(self.packet()?),
            Some(Kind::Code(text)) => {
                let code = Command {
                    text: text.clone(),
                    pos: self.pos(),
                };
                self.at += 1;
                Action::Code(code)
            }
            Some(Kind::Backtick(_)) => match self.command() {
                Some(command) => Action::Command(command),
                None => return self.fail("a command"),
            },
            Some(Kind::Word(_) | Kind::Ellipsis) => Action::Call(self.call()?),
            _ => return self.fail("a packet, a system call, a command or a code block"),
        };
        Ok(Event { time, action, pos })
    }

    fn when(&mut self) -> Result<When> {
        if self.eat('*') {
            return Ok(When::Any);
        }
        let relative = self.eat('+');
        let start = self.time()?;
        if !self.eat('~') {
            return Ok(if relative {
                When::After(start)
            } else {
                When::At(start)
            });
        }
        if relative {
            self.expect('+')?;
        }
        let end = self.time()?;
        if end < start {
            return self.error("this time range runs backwards");
        }
        Ok(if relative {
            When::AfterBetween(start, end)
        } else {
            When::Between(start, end)
        })
    }

    /// A time in seconds, as microseconds.
    fn time(&mut self) -> Result<Micros> {
        let value = match self.peek() {
            Some(Kind::Int(value, _)) => value.checked_mul(1_000_000),
            Some(Kind::Fraction(value, _)) => Some(*value),
            _ => return self.fail("a time in seconds"),
        };
        // A year of virtual time is plenty, and keeps sums far from overflow.
        match value.filter(|value| (0..=31_536_000_000_000).contains(value)) {
            Some(value) => {
                self.at += 1;
                Ok(value)
            }
            None => self.error("a time must lie between 0 and one year"),
        }
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Int(_, text) | Kind::Fraction(_, text) | Kind::Word(text) => format!("'{text}'"),
        Kind::Str(_) => "a string".to_owned(),
        Kind::Backtick(_) => "a command in backticks".to_owned(),
        Kind::Code(_) => "a code block".to_owned(),
        Kind::Option(name, _) => format!("the option --{name}"),
        Kind::Ellipsis => "'...'".to_owned(),
        Kind::Punct(c) => format!("'{c}'"),
    }
}

#[cfg(test)]
mod tests;
