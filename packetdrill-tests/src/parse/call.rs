//! System calls: `0...0.5 accept(3, ..., ...) = -1 EINVAL (Invalid argument)`.

use super::{Cursor, DEPTH_MAX, Result};
use crate::ast::{Call, Expr};
use crate::lex::Kind;

impl Cursor {
    pub(super) fn call(&mut self) -> Result<Call> {
        let end = if self.peek() == Some(&Kind::Ellipsis) {
            self.at += 1;
            Some(self.time()?)
        } else {
            None
        };
        let name = self.word("the name of a system call")?;
        self.expect('(')?;
        let args = self.expressions(')')?;
        self.expect('=')?;
        let result = self.expression()?;
        let errno = match self.peek() {
            Some(Kind::Word(_)) => Some(self.word("an error name")?),
            _ => None,
        };
        self.note()?;
        Ok(Call {
            end,
            name,
            args,
            result,
            errno,
        })
    }

    /// A remark in parentheses after the result: skipped.
    fn note(&mut self) -> Result<()> {
        if !self.eat('(') {
            return Ok(());
        }
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Some(Kind::Punct('(')) => depth += 1,
                Some(Kind::Punct(')')) => depth -= 1,
                Some(_) => {}
                None => return self.fail("')'"),
            }
        }
        Ok(())
    }

    /// Expressions with commas up to and including `close`.
    fn expressions(&mut self, close: char) -> Result<Vec<Expr>> {
        let mut list = Vec::new();
        if self.eat(close) {
            return Ok(list);
        }
        loop {
            list.push(self.expression()?);
            if self.eat(close) {
                return Ok(list);
            }
            self.expect(',')?;
        }
    }

    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.error("this expression is nested too deeply");
        }
        let mut left = self.primary()?;
        while self.eat('|') {
            left = Expr::Or(Box::new(left), Box::new(self.primary()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn primary(&mut self) -> Result<Expr> {
        let Some(kind) = self.peek().cloned() else {
            return self.fail("an expression");
        };
        match kind {
            Kind::Ellipsis => self.at += 1,
            Kind::Int(value, _) => {
                self.at += 1;
                return Ok(Expr::Int(value));
            }
            Kind::Str(_) => return Ok(self.strings()),
            Kind::Word(word) => {
                self.at += 1;
                if self.eat('(') {
                    return Ok(Expr::Apply(word, self.expressions(')')?));
                }
                return Ok(Expr::Word(word));
            }
            Kind::Punct('[') => {
                self.at += 1;
                return Ok(Expr::Array(self.expressions(']')?));
            }
            Kind::Punct('{') => {
                self.at += 1;
                return Ok(Expr::Struct(self.fields()?));
            }
            _ => return self.fail("an expression"),
        }
        Ok(Expr::Ellipsis)
    }

    /// Strings one after the other are one string; an ellipsis after it is a remark.
    fn strings(&mut self) -> Expr {
        let mut bytes = Vec::new();
        while let Some(Kind::Str(part)) = self.peek() {
            bytes.extend_from_slice(part);
            self.at += 1;
        }
        if self.peek() == Some(&Kind::Ellipsis) {
            self.at += 1;
        }
        Expr::Str(bytes)
    }

    /// `name = value` or `name(size) = value` or a bare value, with commas up to `}`.
    fn fields(&mut self) -> Result<Vec<(String, Expr)>> {
        let mut fields = Vec::new();
        if self.eat('}') {
            return Ok(fields);
        }
        loop {
            fields.push(self.field()?);
            if self.eat('}') {
                return Ok(fields);
            }
            self.expect(',')?;
        }
    }

    fn field(&mut self) -> Result<(String, Expr)> {
        let value = self.expression()?;
        if !self.eat('=') {
            return Ok((String::new(), value));
        }
        match value {
            // The parenthesis after msg_iov and the like tells a size that the value tells again.
            Expr::Word(name) | Expr::Apply(name, _) => Ok((name, self.expression()?)),
            _ => self.error("only a name can be given a value"),
        }
    }
}
