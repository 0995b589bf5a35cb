//! The line discipline: canonical input, echo, signal characters, output processing (termios(3)).

use std::collections::VecDeque;

use sentry_abi::file::Termios;

/// Bytes that one direction buffers.
pub const QUEUE: usize = 64 << 10;
/// Bytes of a line under edit.
const LINE_MAX: usize = 4096;

/// Settings of a new terminal, as Linux has them.
pub fn default_termios() -> Termios {
    let mut cc = [0u8; 19];
    cc[libc::VINTR] = 3;
    cc[libc::VQUIT] = 28;
    cc[libc::VERASE] = 127;
    cc[libc::VKILL] = 21;
    cc[libc::VEOF] = 4;
    cc[libc::VMIN] = 1;
    cc[libc::VSTART] = 17;
    cc[libc::VSTOP] = 19;
    cc[libc::VSUSP] = 26;
    cc[libc::VREPRINT] = 18;
    cc[libc::VDISCARD] = 15;
    cc[libc::VWERASE] = 23;
    cc[libc::VLNEXT] = 22;
    Termios {
        iflag: libc::ICRNL | libc::IXON,
        oflag: libc::OPOST | libc::ONLCR,
        cflag: libc::B38400 | libc::CS8 | libc::CREAD,
        lflag: libc::ISIG
            | libc::ICANON
            | libc::ECHO
            | libc::ECHOE
            | libc::ECHOK
            | libc::ECHOCTL
            | libc::ECHOKE
            | libc::IEXTEN,
        line: 0,
        cc,
    }
}

/// State between the two ends.
pub struct Discipline {
    /// Settings.
    pub termios: Termios,
    /// Input that the slave can read.
    pub input: VecDeque<u8>,
    /// Ends of lines in `input`: how many bytes each complete line still has; 0 is an end of file.
    lines: VecDeque<usize>,
    /// The line under edit.
    edit: Vec<u8>,
    /// Output that the master can read.
    pub output: VecDeque<u8>,
    /// The next character is taken literally (VLNEXT).
    literal: bool,
    column: usize,
}

impl Default for Discipline {
    fn default() -> Self {
        Self {
            termios: default_termios(),
            input: VecDeque::new(),
            lines: VecDeque::new(),
            edit: Vec::new(),
            output: VecDeque::new(),
            literal: false,
            column: 0,
        }
    }
}

impl Discipline {
    fn l(&self, flag: u32) -> bool {
        self.termios.lflag & flag != 0
    }

    fn is(&self, byte: u8, which: usize) -> bool {
        // A control character of 0 is switched off.
        byte != 0 && self.termios.cc[which] == byte
    }

    /// Takes one byte that was typed. Answers a signal for the foreground group, if it stands for one.
    pub fn typed(&mut self, byte: u8) -> Option<i32> {
        let mut byte = byte;
        if self.termios.iflag & libc::ISTRIP != 0 {
            byte &= 0x7f;
        }
        if std::mem::take(&mut self.literal) {
            self.echo(byte);
            self.push_edit(byte);
            return None;
        }
        match byte {
            b'\r' if self.termios.iflag & libc::IGNCR != 0 => return None,
            b'\r' if self.termios.iflag & libc::ICRNL != 0 => byte = b'\n',
            b'\n' if self.termios.iflag & libc::INLCR != 0 => byte = b'\r',
            _ => {}
        }
        if self.l(libc::ISIG)
            && let Some(signo) = self.signal_of(byte)
        {
            self.echo(byte);
            if !self.l(libc::NOFLSH) {
                self.flush_input();
            }
            return Some(signo);
        }
        if self.l(libc::ICANON) {
            self.canonical(byte);
        } else {
            self.echo(byte);
            if self.input.len() < QUEUE {
                self.input.push_back(byte);
            }
        }
        None
    }

    fn signal_of(&self, byte: u8) -> Option<i32> {
        let signals = [
            (libc::VINTR, libc::SIGINT),
            (libc::VQUIT, libc::SIGQUIT),
            (libc::VSUSP, libc::SIGTSTP),
        ];
        let found = signals.iter().find(|(which, _)| self.is(byte, *which));
        found.map(|(_, signo)| *signo)
    }

    fn canonical(&mut self, byte: u8) {
        if self.is(byte, libc::VERASE) {
            self.erase_one();
        } else if self.is(byte, libc::VKILL) {
            while !self.edit.is_empty() {
                self.erase_one();
            }
        } else if self.is(byte, libc::VWERASE) && self.l(libc::IEXTEN) {
            while self.edit.last() == Some(&b' ') {
                self.erase_one();
            }
            while self.edit.last().is_some_and(|&last| last != b' ') {
                self.erase_one();
            }
        } else if self.is(byte, libc::VLNEXT) && self.l(libc::IEXTEN) {
            self.literal = true;
        } else if self.is(byte, libc::VEOF) {
            self.end_line();
        } else {
            self.echo(byte);
            self.push_edit(byte);
            if byte == b'\n' || self.is(byte, libc::VEOL) || self.is(byte, libc::VEOL2) {
                self.end_line();
            }
        }
    }

    fn push_edit(&mut self, byte: u8) {
        // A line that is too long keeps its end, so that it can still be finished.
        if self.edit.len() < LINE_MAX - 1 || byte == b'\n' {
            self.edit.push(byte);
        }
    }

    fn end_line(&mut self) {
        if self.input.len() + self.edit.len() > QUEUE {
            self.edit.clear();
            return;
        }
        self.lines.push_back(self.edit.len());
        self.input.extend(self.edit.drain(..));
    }

    fn erase_one(&mut self) {
        let Some(mut gone) = self.edit.pop() else {
            return;
        };
        // The whole of a character in UTF-8.
        if self.termios.iflag & libc::IUTF8 != 0 {
            while gone & 0xc0 == 0x80 {
                match self.edit.pop() {
                    Some(byte) => gone = byte,
                    None => break,
                }
            }
        }
        if self.l(libc::ECHO) && self.l(libc::ECHOE) {
            let width = if gone < 32 && self.l(libc::ECHOCTL) {
                2
            } else {
                1
            };
            for _ in 0..width {
                self.output.extend(b"\x08 \x08");
            }
        }
    }

    fn echo(&mut self, byte: u8) {
        let newline = byte == b'\n' && self.l(libc::ECHONL) && self.l(libc::ICANON);
        if !self.l(libc::ECHO) && !newline {
            return;
        }
        let control = byte < 32 && byte != b'\n' && byte != b'\t' || byte == 127;
        if control && self.l(libc::ECHOCTL) {
            self.output.extend([b'^', byte ^ 0x40]);
            self.column += 2;
        } else {
            self.print(byte);
        }
    }

    /// Puts one byte of output through; what it becomes is in `output`.
    pub fn print(&mut self, byte: u8) {
        let oflag = self.termios.oflag;
        if oflag & libc::OPOST == 0 {
            self.output.push_back(byte);
            return;
        }
        match byte {
            b'\n' if oflag & libc::ONLCR != 0 => {
                self.output.extend(b"\r\n");
                self.column = 0;
            }
            b'\r' if oflag & libc::OCRNL != 0 => self.output.push_back(b'\n'),
            b'\r' if oflag & libc::ONOCR != 0 && self.column == 0 => {}
            b'\r' => {
                self.output.push_back(byte);
                self.column = 0;
            }
            b'\t' if oflag & libc::TABDLY == libc::XTABS => {
                let width = 8 - self.column % 8;
                self.output.extend(std::iter::repeat_n(b' ', width));
                self.column += width;
            }
            _ => {
                self.output.push_back(byte);
                self.column += usize::from(byte >= 32);
            }
        }
    }

    /// Bytes that a read may take now; `None` if it has to wait. An end of file is `Some(0)`.
    pub fn readable(&self) -> Option<usize> {
        if self.l(libc::ICANON) {
            return self.lines.front().copied();
        }
        let min = usize::from(self.termios.cc[libc::VMIN]);
        let enough = !self.input.is_empty() && self.input.len() >= min;
        // VMIN 0: reads don't wait (a VTIME without VMIN is taken as no time).
        (enough || min == 0).then_some(self.input.len())
    }

    /// `count` bytes were taken by a read that found `readable` bytes.
    pub fn consumed(&mut self, count: usize) {
        self.input.drain(..count.min(self.input.len()));
        if !self.l(libc::ICANON) {
            return;
        }
        if let Some(left) = self.lines.front_mut() {
            *left -= count.min(*left);
            if *left == 0 {
                self.lines.pop_front();
            }
        }
    }

    /// Drops all input.
    pub fn flush_input(&mut self) {
        self.input.clear();
        self.lines.clear();
        self.edit.clear();
    }

    /// New settings. Switching canonical mode off makes what was edited readable.
    pub fn set_termios(&mut self, new: Termios) {
        let was = self.l(libc::ICANON);
        self.termios = new;
        let is = self.l(libc::ICANON);
        if was && !is {
            self.lines.clear();
            let edit = std::mem::take(&mut self.edit);
            self.input.extend(edit);
        } else if !was && is && !self.input.is_empty() {
            self.lines.push_back(self.input.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_all(line: &mut Discipline, bytes: &[u8]) -> Vec<i32> {
        bytes.iter().filter_map(|&byte| line.typed(byte)).collect()
    }

    fn output(line: &mut Discipline) -> Vec<u8> {
        line.output.drain(..).collect()
    }

    #[test]
    fn lines_are_edited_echoed_and_handed_over_whole() {
        let mut line = Discipline::default();
        assert!(type_all(&mut line, b"lx\x7fs").is_empty());
        assert_eq!(line.readable(), None);
        type_all(&mut line, b"\r");
        assert_eq!(line.readable(), Some(3));
        assert_eq!(line.input, b"ls\n");
        assert_eq!(output(&mut line), b"lx\x08 \x08s\r\n");
        line.consumed(3);
        assert_eq!(line.readable(), None);
        type_all(&mut line, b"\x04");
        assert_eq!(line.readable(), Some(0));
        line.consumed(0);
        assert_eq!(line.readable(), None);
    }

    #[test]
    fn signal_characters_become_signals_and_drop_the_line() {
        let mut line = Discipline::default();
        assert_eq!(type_all(&mut line, b"abc\x03"), [libc::SIGINT]);
        assert_eq!(type_all(&mut line, b"\x1a"), [libc::SIGTSTP]);
        assert_eq!(output(&mut line), b"abc^C^Z");
        type_all(&mut line, b"\n");
        assert_eq!(line.readable(), Some(1));
    }

    #[test]
    fn raw_mode_hands_bytes_over_as_they_come() {
        let mut line = Discipline::default();
        let mut raw = line.termios;
        raw.lflag = 0;
        raw.oflag = 0;
        raw.iflag = 0;
        line.set_termios(raw);
        assert!(type_all(&mut line, b"\x03\r").is_empty());
        assert_eq!(line.readable(), Some(2));
        assert!(output(&mut line).is_empty());
        line.print(b'\n');
        assert_eq!(output(&mut line), b"\n");
    }
}
