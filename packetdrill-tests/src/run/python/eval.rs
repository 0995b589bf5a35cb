//! Expressions of a code block, evaluated as they are read; a statement at a time.

use super::Vars;
use super::lex::{Token, lex};
use super::statement::Flow;

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

pub(super) type Result<T> = std::result::Result<T, Stop>;

/// Nesting deeper than this is refused.
pub(super) const DEPTH_MAX: u32 = 32;

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
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    pub(super) vars: &'a mut Vars,
    pub(super) depth: u32,
    /// Statements run so far.
    pub(super) steps: u32,
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
            steps: 0,
        };
        let end = evaluator.tokens.len();
        match evaluator.statements(end)? {
            Flow::Next => Ok(()),
            Flow::Break | Flow::Continue => evaluator.unsupported("break or continue here"),
        }
    }

    pub(super) fn unsupported<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Stop::Unsupported(what.into()))
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn eat(&mut self, op: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Op(known)) if *known == op);
        self.at += usize::from(found);
        found
    }

    pub(super) fn eat_name(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(known)) if known == name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn assign(&mut self, name: String) -> Result<()> {
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
    pub(super) fn assertion(&mut self) -> Result<()> {
        let start = self.at;
        let value = self.expression()?;
        let end = self.at;
        if self.eat(",") {
            self.skip_simple();
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

    pub(super) fn expression(&mut self) -> Result<i128> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.unsupported("an expression that is nested this deeply");
        }
        let value = self.or()?;
        let value = if self.eat_name("if") {
            let condition = self.or()?;
            if !self.eat_name("else") {
                return self.unsupported("a conditional expression without else");
            }
            let otherwise = self.expression()?;
            if condition == 0 { otherwise } else { value }
        } else {
            value
        };
        self.depth -= 1;
        Ok(value)
    }

    fn or(&mut self) -> Result<i128> {
        let mut value = self.and()?;
        while self.eat_name("or") {
            let right = self.and()?;
            value = if value != 0 { value } else { right };
        }
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
        if let Some(found) = self.membership(left)? {
            holds = Some(holds.unwrap_or(true) && found);
        }
        Ok(holds.map_or(left, i128::from))
    }

    /// `in (1, 2)` or `not in [1, 2]`, if one of them comes.
    fn membership(&mut self, left: i128) -> Result<Option<bool>> {
        let negated = matches!(self.peek(), Some(Token::Name(name)) if name == "not")
            && matches!(self.tokens.get(self.at + 1), Some(Token::Name(name)) if name == "in");
        self.at += usize::from(negated);
        if !self.eat_name("in") {
            return Ok(None);
        }
        let found = self.list()?.contains(&left);
        Ok(Some(found != negated))
    }

    /// `(1, 2)`, `[1, 2]` or `range(5)`.
    pub(super) fn list(&mut self) -> Result<Vec<i128>> {
        const ITEMS_MAX: i128 = 10_000;
        if self.eat_name("range") {
            if !self.eat("(") {
                return self.unsupported("range without its parenthesis");
            }
            let bounds = self.items(")")?;
            let (from, to, step) = match bounds[..] {
                [to] => (0, to, 1),
                [from, to] => (from, to, 1),
                [from, to, step] if step > 0 => (from, to, step),
                _ => return self.unsupported("this range"),
            };
            if to.saturating_sub(from) / step > ITEMS_MAX {
                return self.unsupported("a range that is this long");
            }
            let items = std::iter::successors(Some(from), |item| item.checked_add(step));
            return Ok(items.take_while(|item| *item < to).collect());
        }
        let close = match (self.eat("("), self.eat("[")) {
            (true, _) => ")",
            (_, true) => "]",
            _ => return self.unsupported("something that is no list of numbers"),
        };
        self.items(close)
    }

    fn items(&mut self, close: &str) -> Result<Vec<i128>> {
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.expression()?);
            if !self.eat(",") && !matches!(self.peek(), Some(Token::Op(op)) if *op == close) {
                return self.unsupported("this list");
            }
        }
        Ok(items)
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
        Token::End | Token::Semicolon => "the end of the statement".to_owned(),
        Token::Indent | Token::Dedent => "another indentation".to_owned(),
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
    fn conditions_choose_what_runs() {
        let block = "\
if tcpi_snd_cwnd > 20:
    assert False
elif tcpi_snd_cwnd == 10:
    x = 1
    if x:
        # what is nested
        x += 1

    y = x
else:
    no_such()
z = 5 if x == 2 else 6
if x == 3: y = 7; assert 0
assert x in (1, 2, 3) and x not in [4]";
        let vars = run(block).unwrap();
        assert_eq!((vars["x"], vars["y"], vars["z"]), (2, 2, 5));
        let failing = run("if 1:\n  if 0: pass\n  else:\n    assert tcpi_snd_cwnd == 9");
        assert!(matches!(failing, Err(Stop::Assertion { .. })));
    }

    #[test]
    fn loops_run_as_often_as_they_should() {
        let block = "\
n = 0
for i in range(10):
    if i == 2: continue
    if i == 5:
        break
    n += i
total = 0
for i in (1, 2): total += i
while total < 100:
    total *= 2
for i in range(3, 9, 5): pass";
        let vars = run(block).unwrap();
        assert_eq!((vars["n"], vars["total"], vars["i"]), (8, 192, 8));
    }

    #[test]
    fn what_is_not_there_is_never_a_pass() {
        for text in [
            "import os",
            "assert no_such",
            "if 1 pass",
            "if no_such: pass",
            "while True: pass",
            "for x in y: pass",
            "else: pass",
            "break",
            "def f(): pass",
            "if 1:\n    x = 1\n  y = 2",
            "x = 1 if 2",
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
        fn no_text_makes_it_panic(text in "([-+*/%<>=()!&|~0-9 \n;:\\[]|assert |x|not |and|'|min\\(|if |else:|for x in |while |\n  ){0,40}") {
            let _ = run(&text);
        }
    }
}
