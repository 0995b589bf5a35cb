//! From text to tokens. Comments and blanks are dropped here.

use crate::ast::{Micros, Pos};
use thiserror::Error;

/// A token and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it starts.
    pub pos: Pos,
}

/// The kinds of token.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A decimal or hexadecimal integer, with its text (a cookie may look like a number).
    Int(i64, String),
    /// A decimal fraction: seconds as microseconds, with its text.
    Fraction(Micros, String),
    /// A name.
    Word(String),
    /// A string in double quotes, escapes resolved.
    Str(Vec<u8>),
    /// Shell text in backticks.
    Backtick(String),
    /// The text of a `%{ }%` block.
    Code(String),
    /// `--name` or `--name=value`.
    Option(String, Option<String>),
    /// `...`.
    Ellipsis,
    /// Any other character.
    Punct(char),
}

/// Text that is no token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct LexError {
    /// Where.
    pub pos: Pos,
    /// What is wrong.
    pub message: String,
}

struct Lexer<'a> {
    source: &'a str,
    text: &'a [u8],
    at: usize,
    pos: Pos,
}

/// Cuts a script into tokens.
///
/// # Errors
/// An unterminated string, comment, command or code block; a number out of range.
pub fn lex(text: &str) -> Result<Vec<Token>, LexError> {
    let mut lexer = Lexer {
        source: text,
        text: text.as_bytes(),
        at: 0,
        pos: Pos { line: 1, column: 1 },
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<Token>, LexError> {
        self.skip_blanks()?;
        let pos = self.pos;
        let Some(byte) = self.peek(0) else {
            return Ok(None);
        };
        let kind = match byte {
            b'"' => Kind::Str(self.quoted()?),
            b'`' => Kind::Backtick(self.delimited(1, "`", "command in backticks")?),
            b'%' if self.starts_with("%{") => Kind::Code(self.delimited(2, "}%", "code block")?),
            b'-' if self.starts_with("--") => self.option()?,
            b'.' if self.starts_with("...") => {
                self.advance(3);
                Kind::Ellipsis
            }
            b'.' if self.is_digit(1) => self.fraction(0)?,
            b'-' if self.is_digit(1) || (self.peek(1) == Some(b'.') && self.is_digit(2)) => {
                self.advance(1);
                negate(self.number_or_word()?)
            }
            b if is_word(b) => self.number_or_word()?,
            _ => Kind::Punct(self.take_char()),
        };
        Ok(Some(Token { kind, pos }))
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn is_digit(&self, ahead: usize) -> bool {
        self.peek(ahead).is_some_and(|b| b.is_ascii_digit())
    }

    fn starts_with(&self, what: &str) -> bool {
        self.text[self.at..].starts_with(what.as_bytes())
    }

    fn advance(&mut self, count: usize) {
        for byte in &self.text[self.at..self.at + count] {
            if *byte == b'\n' {
                self.pos = Pos {
                    line: self.pos.line + 1,
                    column: 1,
                };
            } else {
                self.pos.column += 1;
            }
        }
        self.at += count;
    }

    fn error<T>(&self, pos: Pos, message: impl Into<String>) -> Result<T, LexError> {
        Err(LexError {
            pos,
            message: message.into(),
        })
    }

    fn skip_blanks(&mut self) -> Result<(), LexError> {
        while let Some(byte) = self.peek(0) {
            if byte.is_ascii_whitespace() {
                self.advance(1);
            } else if byte == b'#' || self.starts_with("//") {
                let rest = &self.text[self.at..];
                let len = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                self.advance(len);
            } else if self.starts_with("/*") {
                self.delimited(2, "*/", "comment")?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Takes an opening of `open` bytes, and everything up to and including `close`; returns what is between.
    fn delimited(&mut self, open: usize, close: &str, what: &str) -> Result<String, LexError> {
        let start = self.pos;
        let rest = &self.text[self.at + open..];
        let Some(len) = rest
            .windows(close.len())
            .position(|window| window == close.as_bytes())
        else {
            return self.error(start, format!("this {what} has no end"));
        };
        let inner = String::from_utf8_lossy(&rest[..len]).into_owned();
        self.advance(open + len + close.len());
        Ok(inner)
    }

    fn quoted(&mut self) -> Result<Vec<u8>, LexError> {
        let start = self.pos;
        self.advance(1);
        let mut out = Vec::new();
        loop {
            match self.peek(0) {
                None => return self.error(start, "this string has no end"),
                Some(b'"') => {
                    self.advance(1);
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape(start)?),
                Some(byte) => {
                    out.push(byte);
                    self.advance(1);
                }
            }
        }
    }

    fn escape(&mut self, start: Pos) -> Result<u8, LexError> {
        let Some(letter) = self.peek(1) else {
            return self.error(start, "this string has no end");
        };
        if letter == b'x' {
            let digits = self.text.get(self.at + 2..self.at + 4).unwrap_or_default();
            let value = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let Some(value) = value else {
                return self.error(self.pos, "\\x needs two hexadecimal digits");
            };
            self.advance(4);
            return Ok(value);
        }
        self.advance(2);
        Ok(match letter {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            other => other,
        })
    }

    fn option(&mut self) -> Result<Kind, LexError> {
        self.advance(2);
        let name = self.take_while(|b| is_word(b) || b == b'-');
        if name.is_empty() {
            return self.error(self.pos, "an option needs a name after its dashes");
        }
        if self.peek(0) != Some(b'=') {
            return Ok(Kind::Option(name, None));
        }
        self.advance(1);
        let value = if self.peek(0) == Some(b'"') {
            String::from_utf8_lossy(&self.quoted()?).into_owned()
        } else {
            self.take_while(|b| !b.is_ascii_whitespace())
        };
        Ok(Kind::Option(name, Some(value)))
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> String {
        let rest = &self.text[self.at..];
        let len = rest.iter().position(|b| !keep(*b)).unwrap_or(rest.len());
        let taken = String::from_utf8_lossy(&rest[..len]).into_owned();
        self.advance(len);
        taken
    }

    /// The longest run of word characters: all digits make a number, anything else a name.
    fn number_or_word(&mut self) -> Result<Kind, LexError> {
        let pos = self.pos;
        let rest = &self.text[self.at..];
        let len = rest.iter().position(|b| !is_word(*b)).unwrap_or(rest.len());
        let digits = rest[..len].iter().all(u8::is_ascii_digit);
        if digits && self.peek(len) == Some(b'.') && self.is_digit(len + 1) {
            return self.fraction(len);
        }
        let text = self.take_while(is_word);
        let value = if digits {
            text.parse().ok()
        } else if let Some(hex) = text.strip_prefix("0x") {
            // A hexadecimal number is unsigned: 0xffffffffffffffff is all ones.
            u64::from_str_radix(hex, 16).ok().map(u64::cast_signed)
        } else {
            return Ok(Kind::Word(text));
        };
        match value {
            Some(value) => Ok(Kind::Int(value, text)),
            // A long run of digits can still be a cookie.
            None if digits => Ok(Kind::Word(text)),
            None => self.error(pos, format!("{text} is not a number that fits in 64 bits")),
        }
    }

    /// Digits, a point and digits; `whole` digits come before the point.
    fn fraction(&mut self, whole: usize) -> Result<Kind, LexError> {
        let pos = self.pos;
        let start = self.at;
        self.advance(whole + 1);
        self.take_while(|b| b.is_ascii_digit());
        let text = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        match micros(&text) {
            Some(value) => Ok(Kind::Fraction(value, text)),
            None => self.error(pos, format!("{text} is out of range")),
        }
    }

    fn take_char(&mut self) -> char {
        // Tokens end at ASCII characters, so this is a character boundary.
        let first = self.source[self.at..].chars().next().unwrap_or(' ');
        self.advance(first.len_utf8());
        first
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn negate(kind: Kind) -> Kind {
    match kind {
        Kind::Int(value, text) => Kind::Int(value.wrapping_neg(), format!("-{text}")),
        Kind::Fraction(value, text) => Kind::Fraction(-value, format!("-{text}")),
        other => other,
    }
}

/// Seconds in decimal as microseconds, digits after the sixth dropped.
fn micros(text: &str) -> Option<Micros> {
    let (whole, part) = text.split_once('.')?;
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut digits: String = part.chars().take(6).collect();
    while digits.len() < 6 {
        digits.push('0');
    }
    whole
        .checked_mul(1_000_000)?
        .checked_add(digits.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        lex(text)
            .unwrap()
            .into_iter()
            .map(|token| token.kind)
            .collect()
    }

    #[test]
    fn times_and_ellipses_do_not_run_together() {
        assert_eq!(
            kinds("0...0.5 +.1~+0.25"),
            [
                Kind::Int(0, "0".into()),
                Kind::Ellipsis,
                Kind::Fraction(500_000, "0.5".into()),
                Kind::Punct('+'),
                Kind::Fraction(100_000, ".1".into()),
                Kind::Punct('~'),
                Kind::Punct('+'),
                Kind::Fraction(250_000, "0.25".into()),
            ]
        );
    }

    #[test]
    fn comments_of_every_kind_are_dropped() {
        assert_eq!(
            kinds("a // b\n# c\n/* d\n e */ f"),
            [Kind::Word("a".into()), Kind::Word("f".into())]
        );
    }

    #[test]
    fn words_numbers_and_cookies() {
        assert_eq!(
            kinds("3ede01 0x10 -1 99999999999999999999"),
            [
                Kind::Word("3ede01".into()),
                Kind::Int(16, "0x10".into()),
                Kind::Int(-1, "-1".into()),
                Kind::Word("99999999999999999999".into()),
            ]
        );
    }

    #[test]
    fn positions_count_lines_and_columns() {
        let tokens = lex("a\n  b").unwrap();
        assert_eq!(tokens[1].pos, Pos { line: 2, column: 3 });
    }

    #[test]
    fn what_does_not_end_is_an_error() {
        for text in ["\"abc", "`ls", "%{ x", "/* x", "\"\\"] {
            assert!(lex(text).is_err(), "{text}");
        }
    }
}
