//! TCP options between angle brackets.

use super::{Cursor, Result};
use crate::ast::TcpOption;
use crate::lex::Kind;

impl Cursor {
    /// What stands between `<` (taken already) and `>`; `None` for `<...>`.
    pub(super) fn tcp_options(&mut self) -> Result<Option<Vec<TcpOption>>> {
        if self.peek() == Some(&Kind::Ellipsis) {
            self.at += 1;
            self.expect('>')?;
            return Ok(None);
        }
        let mut options = Vec::new();
        loop {
            options.push(self.tcp_option()?);
            if self.eat('>') {
                return Ok(Some(options));
            }
            self.expect(',')?;
        }
    }

    fn tcp_option(&mut self) -> Result<TcpOption> {
        let name = self.word("a TCP option")?;
        Ok(match name.as_str() {
            "nop" => TcpOption::Nop,
            "eol" => TcpOption::Eol,
            "mss" => TcpOption::Mss(self.int("an MSS")?),
            "wscale" => TcpOption::WindowScale(self.int("a window scale")?),
            "sackOK" => TcpOption::SackPermitted,
            "sack" => TcpOption::Sack(self.sack_blocks()?),
            "TS" => self.timestamp()?,
            "FO" => TcpOption::FastOpen(self.cookie()?),
            "FOEXP" => TcpOption::FastOpenExp(self.cookie()?),
            _ => {
                self.at -= 1;
                return self.error(format!("the TCP option {name} is not supported"));
            }
        })
    }

    fn sack_blocks(&mut self) -> Result<Vec<(u32, u32)>> {
        let mut blocks = Vec::new();
        while let Some(Kind::Int(..)) = self.peek() {
            let left = self.int("a SACK edge")?;
            self.expect(':')?;
            blocks.push((left, self.int("a SACK edge")?));
        }
        if blocks.is_empty() {
            return self.fail("a SACK block such as 1001:2001");
        }
        Ok(blocks)
    }

    fn timestamp(&mut self) -> Result<TcpOption> {
        if !self.eat_word("val") {
            return self.fail("'val'");
        }
        let val = self.int("a timestamp")?;
        if !self.eat_word("ecr") {
            return self.fail("'ecr'");
        }
        Ok(TcpOption::Timestamp {
            val,
            ecr: self.int("a timestamp")?,
        })
    }

    /// Hexadecimal digits, or nothing.
    fn cookie(&mut self) -> Result<Vec<u8>> {
        let text = match self.peek() {
            Some(Kind::Word(text) | Kind::Int(_, text)) => text.clone(),
            _ => return Ok(Vec::new()),
        };
        let bytes = (text.len() % 2 == 0)
            .then(|| {
                (0..text.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
                    .collect::<Option<Vec<u8>>>()
            })
            .flatten();
        match bytes.filter(|bytes| bytes.len() <= 36) {
            Some(bytes) => {
                self.at += 1;
                Ok(bytes)
            }
            None => self.error(format!(
                "{text} is no cookie (an even number of hexadecimal digits)"
            )),
        }
    }
}
