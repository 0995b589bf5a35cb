//! Tokens of a code block.

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Int(i128),
    Name(String),
    Str(String),
    /// An operator or a bracket.
    Op(&'static str),
    /// The end of a statement.
    End,
}

/// Longest first, so that `<=` is not read as `<`.
const OPERATORS: [&str; 39] = [
    "**=", "//=", "<<=", ">>=", "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "+=", "-=", "*=",
    "/=", "%=", "&=", "|=", "^=", "+", "-", "*", "/", "%", "&", "|", "^", "~", "<", ">", "=", "(",
    ")", ",", "[", "]", ":", ".",
];

/// Cuts a block into tokens.
///
/// # Errors
/// A character that is not part of the language.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut depth = 0_i32;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '\n' | ';' => {
                if depth == 0 {
                    tokens.push(Token::End);
                }
                1
            }
            c if c.is_whitespace() || c == '\\' => c.len_utf8(),
            '"' | '\'' => {
                let len = rest[1..].find(first).ok_or("a string has no end")?;
                tokens.push(Token::Str(rest[1..=len].to_owned()));
                len + 2
            }
            c if c.is_alphanumeric() || c == '_' => {
                let word = |c: char| c.is_alphanumeric() || c == '_';
                let len = rest.find(|c| !word(c)).unwrap_or(rest.len());
                tokens.push(word_token(&rest[..len])?);
                len
            }
            _ => {
                let operator = OPERATORS.iter().find(|op| rest.starts_with(**op));
                let operator = operator.ok_or_else(|| format!("'{first}' is not supported"))?;
                depth += match *operator {
                    "(" | "[" => 1,
                    ")" | "]" => -1,
                    _ => 0,
                };
                tokens.push(Token::Op(operator));
                operator.len()
            }
        };
        rest = &rest[taken..];
    }
    tokens.push(Token::End);
    Ok(tokens)
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
