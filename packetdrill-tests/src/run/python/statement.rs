//! Statements: assertions, assignments, `if`, `for` and `while`, `pass`, `break` and `continue`.
//!
//! A body is a range of tokens, which a loop runs again; a body that is not chosen is stepped over
//! without being looked at.

use super::eval::{DEPTH_MAX, Evaluator, Result};
use super::lex::Token;

/// Statements that a block may run: what loops longer is stopped.
const STEPS_MAX: u32 = 100_000;

/// How the statements of a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// At its end.
    Next,
    Break,
    Continue,
}

/// The tokens of a body, and where the statement behind it begins.
#[derive(Clone, Copy)]
struct Body {
    start: usize,
    end: usize,
    after: usize,
}

impl Evaluator<'_> {
    /// Runs the statements up to token `end`.
    pub(super) fn statements(&mut self, end: usize) -> Result<Flow> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.unsupported("statements that are nested this deeply");
        }
        let mut flow = Flow::Next;
        while self.at < end && flow == Flow::Next {
            flow = self.statement()?;
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn statement(&mut self) -> Result<Flow> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return self.unsupported("a block that runs this long");
        }
        let name = match self.peek().cloned() {
            None => return Ok(Flow::Next),
            Some(Token::End | Token::Semicolon) => {
                self.at += 1;
                return Ok(Flow::Next);
            }
            Some(Token::Name(name)) => name,
            Some(token) => {
                return self.unsupported(format!("a statement that begins with {token:?}"));
            }
        };
        match name.as_str() {
            "if" => return self.choice(),
            "for" => return self.for_loop(),
            "while" => return self.while_loop(),
            _ => {}
        }
        let flow = self.simple(name)?;
        match self.peek() {
            Some(Token::End | Token::Semicolon) | None => Ok(flow),
            Some(token) => self.unsupported(format!("{token:?} at this place")),
        }
    }

    /// A statement without a body.
    fn simple(&mut self, name: String) -> Result<Flow> {
        let assigns = matches!(self.tokens.get(self.at + 1), Some(Token::Op(op))
            if op.ends_with('=') && !matches!(*op, "==" | "!=" | "<=" | ">="));
        match name.as_str() {
            "assert" => {
                self.at += 1;
                self.assertion()?;
            }
            // What it says does not decide anything.
            "print" => self.skip_simple(),
            "pass" => self.at += 1,
            "break" => {
                self.at += 1;
                return Ok(Flow::Break);
            }
            "continue" => {
                self.at += 1;
                return Ok(Flow::Continue);
            }
            _ if assigns => self.assign(name)?,
            _ => return self.unsupported(format!("a statement that begins with {name}")),
        }
        Ok(Flow::Next)
    }

    /// Steps over the rest of a statement without a body.
    pub(super) fn skip_simple(&mut self) {
        while !matches!(self.peek(), Some(Token::End | Token::Semicolon) | None) {
            self.at += 1;
        }
    }

    /// `if`, with its `elif` and `else`.
    fn choice(&mut self) -> Result<Flow> {
        let mut flow = Flow::Next;
        let mut chosen = false;
        self.at += 1;
        loop {
            let holds = match chosen {
                false => self.expression()? != 0,
                // Not looked at: a choice before it has been made.
                true => {
                    self.skip_to_colon();
                    false
                }
            };
            let body = self.body()?;
            if holds {
                chosen = true;
                flow = self.run_body(body)?;
            }
            self.at = body.after;
            if self.eat_name("elif") {
                continue;
            }
            if self.eat_name("else") {
                let body = self.body()?;
                if !chosen {
                    flow = self.run_body(body)?;
                }
                self.at = body.after;
            }
            return Ok(flow);
        }
    }

    fn for_loop(&mut self) -> Result<Flow> {
        self.at += 1;
        let Some(Token::Name(name)) = self.peek().cloned() else {
            return self.unsupported("this for");
        };
        self.at += 1;
        if !self.eat_name("in") {
            return self.unsupported("for without in");
        }
        let items = self.list()?;
        let body = self.body()?;
        for item in items {
            self.vars.insert(name.clone(), item);
            if self.run_body(body)? == Flow::Break {
                break;
            }
        }
        self.at = body.after;
        Ok(Flow::Next)
    }

    fn while_loop(&mut self) -> Result<Flow> {
        let condition = self.at + 1;
        loop {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return self.unsupported("a loop that runs this long");
            }
            self.at = condition;
            let holds = self.expression()? != 0;
            let body = self.body()?;
            if !holds || self.run_body(body)? == Flow::Break {
                self.at = body.after;
                return Ok(Flow::Next);
            }
        }
    }

    fn run_body(&mut self, body: Body) -> Result<Flow> {
        self.at = body.start;
        self.statements(body.end)
    }

    fn skip_to_colon(&mut self) {
        while !matches!(self.peek(), Some(Token::Op(":") | Token::End) | None) {
            self.at += 1;
        }
    }

    /// The colon, and the body behind it: the rest of the line, or the lines that are indented below.
    fn body(&mut self) -> Result<Body> {
        if !self.eat(":") {
            return self.unsupported("a condition without its colon");
        }
        let first = self.at;
        let position = |from: usize, wanted: Token| {
            let found = self.tokens[from..]
                .iter()
                .position(|token| *token == wanted);
            found.map_or(self.tokens.len(), |found| from + found)
        };
        if self.tokens.get(first) != Some(&Token::End) {
            let end = position(first, Token::End);
            let after = self.past_line_ends(end);
            return Ok(Body {
                start: first,
                end,
                after,
            });
        }
        if self.tokens.get(first + 1) != Some(&Token::Indent) {
            return self.unsupported("a statement without its body");
        }
        let start = first + 2;
        let mut depth = 1;
        let mut end = start;
        while let Some(token) = self.tokens.get(end) {
            depth += match token {
                Token::Indent => 1,
                Token::Dedent => -1,
                _ => 0,
            };
            if depth == 0 {
                break;
            }
            end += 1;
        }
        let after = self.past_line_ends(end + 1);
        Ok(Body { start, end, after })
    }

    /// Where `elif` or `else` would stand.
    fn past_line_ends(&self, mut at: usize) -> usize {
        while self.tokens.get(at) == Some(&Token::End) {
            at += 1;
        }
        at
    }
}
