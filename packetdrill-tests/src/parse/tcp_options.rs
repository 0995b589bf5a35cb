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
            "md5" => TcpOption::Md5(self.hex("a digest")?),
            "TCP" if self.eat('-') => self.ao()?,
            "ECN" => self.acc_ecn()?,
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

    /// `TCP-AO 1 2 a1b2`, what comes after the hyphen.
    fn ao(&mut self) -> Result<TcpOption> {
        if !self.eat_word("AO") {
            return self.fail("'AO'");
        }
        Ok(TcpOption::Ao {
            key_id: self.int("a key's number")?,
            next_key_id: self.int("a key's number")?,
            mac: self.hex("a message authentication code")?,
        })
    }

    /// `e0b 1 ceb 0 e1b 1` or `e1b 1 ceb 0 e0b 1`, the last or the last two left out.
    fn acc_ecn(&mut self) -> Result<TcpOption> {
        const COUNTER_MAX: u32 = 0xff_ffff;
        let e1b_first = self.is_word("e1b");
        let names = match e1b_first {
            true => ["e1b", "ceb", "e0b"],
            false => ["e0b", "ceb", "e1b"],
        };
        let mut counters = Vec::new();
        for name in names {
            if !self.eat_word(name) {
                break;
            }
            let count: u32 = self.int("a counter")?;
            if count > COUNTER_MAX {
                return self.error(format!("{count} does not fit in 24 bits"));
            }
            counters.push(count);
        }
        if counters.is_empty() {
            return self.fail("'e0b' or 'e1b'");
        }
        Ok(TcpOption::AccEcn {
            e1b_first,
            counters,
        })
    }

    fn hex(&mut self, what: &str) -> Result<Vec<u8>> {
        let bytes = self.cookie()?;
        match bytes.is_empty() {
            true => self.fail(what),
            false => Ok(bytes),
        }
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
