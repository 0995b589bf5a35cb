//! Tokens of a code block, its indentation among them.

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Int(i128),
    Name(String),
    Str(String),
    /// An operator or a bracket.
    Op(&'static str),
    /// A semicolon: the end of a statement, with another on the same line.
    Semicolon,
    /// The end of a line, and of its last statement.
    End,
    /// The lines from here on belong to the statement before.
    Indent,
    /// They no longer do.
    Dedent,
}

/// Longest first, so that `<=` is not read as `<`.
const OPERATORS: [&str; 39] = [
    "**=", "//=", "<<=", ">>=", "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "+=", "-=", "*=",
    "/=", "%=", "&=", "|=", "^=", "+", "-", "*", "/", "%", "&", "|", "^", "~", "<", ">", "=", "(",
    ")", ",", "[", "]", ":", ".",
];

struct Lexer<'a> {
    rest: &'a str,
    tokens: Vec<Token>,
    /// Open brackets: within them lines do not end.
    depth: i32,
    /// Columns at which the blocks that are open began.
    columns: Vec<usize>,
}

/// Cuts a block into tokens.
///
/// # Errors
/// A character that is not part of the language; an indentation that fits nowhere.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut lexer = Lexer {
        rest: text.trim(),
        tokens: Vec::new(),
        depth: 0,
        columns: vec![0],
    };
    while let Some(first) = lexer.rest.chars().next() {
        lexer.token(first)?;
    }
    lexer.tokens.push(Token::End);
    for _ in 1..lexer.columns.len() {
        lexer.tokens.push(Token::Dedent);
    }
    Ok(lexer.tokens)
}

impl Lexer<'_> {
    fn token(&mut self, first: char) -> Result<(), String> {
        let rest = self.rest;
        let taken = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '\n' if self.depth == 0 => return self.line_end(),
            ';' => {
                self.tokens.push(Token::Semicolon);
                1
            }
            // A backslash at its end continues a line.
            '\\' if rest.starts_with("\\\n") => 2,
            c if c.is_whitespace() || c == '\\' => c.len_utf8(),
            '"' | '\'' => {
                let len = rest[1..].find(first).ok_or("a string has no end")?;
                self.tokens.push(Token::Str(rest[1..=len].to_owned()));
                len + 2
            }
            c if c.is_alphanumeric() || c == '_' => {
                let word = |c: char| c.is_alphanumeric() || c == '_';
                let len = rest.find(|c| !word(c)).unwrap_or(rest.len());
                self.tokens.push(word_token(&rest[..len])?);
                len
            }
            _ => {
                let operator = OPERATORS.iter().find(|op| rest.starts_with(**op));
                let operator = operator.ok_or_else(|| format!("'{first}' is not supported"))?;
                self.depth += match *operator {
                    "(" | "[" => 1,
                    ")" | "]" => -1,
                    _ => 0,
                };
                self.tokens.push(Token::Op(operator));
                operator.len()
            }
        };
        self.rest = &rest[taken..];
        Ok(())
    }

    /// Ends a line and looks how far the next is indented; empty lines do not count.
    fn line_end(&mut self) -> Result<(), String> {
        let opens = self.tokens.last() == Some(&Token::Op(":"));
        self.tokens.push(Token::End);
        let column = loop {
            self.rest = self.rest.strip_prefix('\n').unwrap_or(self.rest);
            let indent = self.rest.find(|c: char| c != ' ' && c != '\t');
            let indent = indent.unwrap_or(self.rest.len());
            let line = &self.rest[indent..];
            if line.starts_with('#') {
                self.rest = &line[line.find('\n').unwrap_or(line.len())..];
            } else if line.starts_with('\n') {
                self.rest = line;
            } else {
                self.rest = line;
                break indent;
            }
        };
        let open = self.columns.last().copied().unwrap_or(0);
        if opens && column > open {
            self.columns.push(column);
            self.tokens.push(Token::Indent);
            return Ok(());
        }
        while self.columns.len() > 1 && self.columns.last().is_some_and(|open| *open > column) {
            self.columns.pop();
            self.tokens.push(Token::Dedent);
        }
        // Deeper lines without a block are let pass where no block is open.
        if self.columns.last() == Some(&column) || (open == 0 && column > 0) {
            Ok(())
        } else {
            Err("a line that is indented to no block's column".to_owned())
        }
    }
}

fn word_token(word: &str) -> Result<Token, String> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Token::Name(word.to_owned()));
    }
    let value = match word.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16),
        None => word.parse(),
    };
    value
        .map(Token::Int)
        .map_err(|_| format!("{word} is no number that is supported"))
}
