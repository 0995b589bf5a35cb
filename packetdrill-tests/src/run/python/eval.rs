//! Statements and expressions of a code block, evaluated as they are read.

use super::Vars;
use super::lex::{Token, lex};

/// Why a block ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// An assertion does not hold.
    Assertion {
        /// Its expression.
        text: String,
        /// The names in it with their values.
        seen: String,
    },
    /// Something that this evaluator does not have.
    Unsupported(String),
}

type Result<T> = std::result::Result<T, Stop>;

/// Nesting deeper than this is refused.
const DEPTH_MAX: u32 = 32;

/// Binary operators by rank, loosest first, below comparison.
const RANKS: [&[&str]; 6] = [
    &["|"],
    &["^"],
    &["&"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "//", "%", "/"],
];

pub(super) struct Evaluator<'a> {
    tokens: Vec<Token>,
    at: usize,
    vars: &'a mut Vars,
    depth: u32,
}

impl<'a> Evaluator<'a> {
    /// Runs a block over `vars`, which it may change.
    pub(super) fn run(text: &str, vars: &'a mut Vars) -> Result<()> {
        let tokens = lex(text).map_err(Stop::Unsupported)?;
        let mut evaluator = Self {
            tokens,
            at: 0,
            vars,
            depth: 0,
        };
        while evaluator.at < evaluator.tokens.len() {
            evaluator.statement()?;
        }
        Ok(())
    }

    fn unsupported<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Stop::Unsupported(what.into()))
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn eat(&mut self, op: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Op(known)) if *known == op);
        self.at += usize::from(found);
        found
    }

    fn eat_name(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(known)) if known == name);
        self.at += usize::from(found);
        found
    }

    fn statement(&mut self) -> Result<()> {
        match self.peek().cloned() {
            None => return Ok(()),
            Some(Token::End) => {
                self.at += 1;
                return Ok(());
            }
            Some(Token::Name(name)) if name == "assert" => {
                self.at += 1;
                self.assertion()?;
            }
            Some(Token::Name(name)) if name == "print" => self.skip_statement(),
            Some(Token::Name(name)) if matches!(self.tokens.get(self.at + 1), Some(Token::Op(op)) if op.ends_with('=') && !matches!(*op, "==" | "!=" | "<=" | ">=")) =>
            {
                self.assign(name)?;
            }
            Some(token) => {
                return self.unsupported(format!("a statement that begins with {token:?}"));
            }
        }
        match self.peek() {
            Some(Token::End) | None => Ok(()),
            Some(token) => self.unsupported(format!("{token:?} at this place")),
        }
    }

    fn skip_statement(&mut self) {
        while !matches!(self.peek(), Some(Token::End) | None) {
            self.at += 1;
        }
    }

    fn assign(&mut self, name: String) -> Result<()> {
        let Some(Token::Op(op)) = self.tokens.get(self.at + 1).cloned() else {
            return self.unsupported("an assignment without an operator");
        };
        self.at += 2;
        let right = self.expression()?;
        let value = match op.strip_suffix('=') {
            Some("") | None => right,
            Some(op) => {
                let left = self.lookup(&name)?;
                self.binary(op, left, right)?
            }
        };
        self.vars.insert(name, value);
        Ok(())
    }

    /// `assert EXPRESSION[, MESSAGE]`; the message is skipped: the names' values say more.
    fn assertion(&mut self) -> Result<()> {
        let start = self.at;
        let value = self.expression()?;
        let end = self.at;
        if self.eat(",") {
            self.skip_statement();
        }
        if value != 0 {
            return Ok(());
        }
        let tokens = &self.tokens[start..end];
        let text: Vec<String> = tokens.iter().map(token_text).collect();
        let mut seen = Vec::new();
        for token in tokens {
            if let Token::Name(name) = token
                && let Some(value) = self.vars.get(name)
            {
                let pair = format!("{name} = {value}");
                if !seen.contains(&pair) {
                    seen.push(pair);
                }
            }
        }
        Err(Stop::Assertion {
            text: text.join(" "),
            seen: seen.join(", "),
        })
    }

    fn lookup(&self, name: &str) -> Result<i128> {
        match self.vars.get(name) {
            Some(value) => Ok(*value),
            None => self.unsupported(format!(
                "{name} is not known (or the stack does not have it)"
            )),
        }
    }

    fn expression(&mut self) -> Result<i128> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.unsupported("an expression that is nested this deeply");
        }
        let mut value = self.and()?;
        while self.eat_name("or") {
            let right = self.and()?;
            value = if value != 0 { value } else { right };
        }
        self.depth -= 1;
        Ok(value)
    }

    fn and(&mut self) -> Result<i128> {
        let mut value = self.not()?;
        while self.eat_name("and") {
            let right = self.not()?;
            value = if value == 0 { value } else { right };
        }
        Ok(value)
    }

    fn not(&mut self) -> Result<i128> {
        let mut negated = None;
        while self.eat_name("not") {
            negated = Some(!negated.unwrap_or(false));
        }
        let value = self.comparison()?;
        Ok(match negated {
            Some(true) => i128::from(value == 0),
            Some(false) => i128::from(value != 0),
            None => value,
        })
    }

    fn comparison(&mut self) -> Result<i128> {
        let mut left = self.ranked(0)?;
        let mut holds = None;
        while let Some(Token::Op(op @ ("==" | "!=" | "<" | ">" | "<=" | ">="))) =
            self.peek().cloned()
        {
            self.at += 1;
            let right = self.ranked(0)?;
            let this = match op {
                "==" => left == right,
                "!=" => left != right,
                "<" => left < right,
                ">" => left > right,
                "<=" => left <= right,
                _ => left >= right,
            };
            holds = Some(holds.unwrap_or(true) && this);
            left = right;
        }
        Ok(holds.map_or(left, i128::from))
    }

    fn ranked(&mut self, rank: usize) -> Result<i128> {
        let Some(operators) = RANKS.get(rank) else {
            return self.unary();
        };
        let mut left = self.ranked(rank + 1)?;
        while let Some(Token::Op(op)) = self.peek().cloned() {
            if !operators.contains(&op) {
                break;
            }
            self.at += 1;
            let right = self.ranked(rank + 1)?;
            left = self.binary(op, left, right)?;
        }
        Ok(left)
    }

    fn binary(&self, op: &str, left: i128, right: i128) -> Result<i128> {
        let shift = || u32::try_from(right).ok().filter(|bits| *bits < 64);
        let value = match op {
            "|" => Some(left | right),
            "^" => Some(left ^ right),
            "&" => Some(left & right),
            "<<" => shift().and_then(|bits| left.checked_mul(1 << bits)),
            ">>" => shift().map(|bits| left >> bits),
            "+" => left.checked_add(right),
            "-" => left.checked_sub(right),
            "*" => left.checked_mul(right),
            // Python rounds towards minus infinity; "/" gives fractions, which are not supported.
            "//" if right != 0 => Some(left.wrapping_sub(left.rem_euclid(right)) / right),
            "%" if right > 0 => Some(left.rem_euclid(right)),
            "/" if right != 0 && left % right == 0 => Some(left / right),
            _ => None,
        };
        match value {
            Some(value) => Ok(value),
            None => self.unsupported(format!("{left} {op} {right}")),
        }
    }

    fn unary(&mut self) -> Result<i128> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.unsupported("an expression that is nested this deeply");
        }
        let value = if self.eat("-") {
            self.unary().map(i128::wrapping_neg)
        } else if self.eat("~") {
            self.unary().map(|value| !value)
        } else if self.eat("+") {
            self.unary()
        } else {
            self.primary()
        };
        self.depth -= 1;
        value
    }

    fn primary(&mut self) -> Result<i128> {
        let token = self.peek().cloned();
        self.at += 1;
        match token {
            Some(Token::Int(value)) => Ok(value),
            Some(Token::Name(name)) => match name.as_str() {
                "True" => Ok(1),
                "False" => Ok(0),
                "min" | "max" | "abs" | "int" if self.eat("(") => self.function(&name),
                _ => self.lookup(&name),
            },
            Some(Token::Op("(")) => {
                let value = self.expression()?;
                if self.eat(")") {
                    Ok(value)
                } else {
                    self.unsupported("a tuple, or a parenthesis without its end")
                }
            }
            Some(token) => self.unsupported(format!("{} in an expression", token_text(&token))),
            None => self.unsupported("an expression that ends too early"),
        }
    }

    fn function(&mut self, name: &str) -> Result<i128> {
        let mut args = vec![self.expression()?];
        while self.eat(",") {
            args.push(self.expression()?);
        }
        if !self.eat(")") {
            return self.unsupported(format!("this call of {name}"));
        }
        let value = match name {
            "min" => args.into_iter().min(),
            "max" => args.into_iter().max(),
            "abs" => args.first().map(|value| value.wrapping_abs()),
            _ => args.first().copied(),
        };
        Ok(value.unwrap_or(0))
    }
}

fn token_text(token: &Token) -> String {
    match token {
        Token::Int(value) => value.to_string(),
        Token::Name(name) => name.clone(),
        Token::Str(text) => format!("'{text}'"),
        Token::Op(op) => (*op).to_owned(),
        Token::End => "the end of the statement".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Vars> {
        let mut vars = Vars::from([("tcpi_snd_cwnd".to_owned(), 10)]);
        Evaluator::run(text, &mut vars).map(|()| vars)
    }

    #[test]
    fn assertions_hold_or_say_why_not() {
        assert!(run("assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd").is_ok());
        assert!(run("assert (6 & 2) != 0 and not 1 > 2; assert 1 < 2 < 3").is_ok());
        assert!(run("assert -7 // 2 == -4\nassert max(1, 2) == 2 # yes").is_ok());
        assert_eq!(
            run("assert tcpi_snd_cwnd == 11, 'cwnd=%d' % tcpi_snd_cwnd"),
            Err(Stop::Assertion {
                text: "tcpi_snd_cwnd == 11".into(),
                seen: "tcpi_snd_cwnd = 10".into()
            })
        );
    }

    #[test]
    fn variables_are_kept() {
        let vars = run("x = 0x10\nx += 2; print(x)").unwrap();
        assert_eq!(vars["x"], 18);
    }

    #[test]
    fn what_is_not_there_is_never_a_pass() {
        for text in [
            "import os",
            "assert no_such",
            "if 1: pass",
            "assert f(1)",
            "x[0] = 1",
            "assert (1, 2)",
            "assert 'text'",
            "assert 1 / 0",
            "assert 1 1",
        ] {
            assert!(
                matches!(run(text), Err(Stop::Unsupported(_))),
                "{text} must not pass"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([-+*/%<>=()!&|~0-9 \n;]|assert|x|not|and|'|min\\(){0,40}") {
            let _ = run(&text);
        }
    }
}
