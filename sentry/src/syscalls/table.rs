//! The table of system calls.

use crate::syscalls::{Args, Outcome, Support, SysResult};
use crate::task::Task;
use sentry_abi::Errno;

/// A system call's implementation.
pub type Handler = fn(&mut Task, &Args) -> SysResult;

/// One system call.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its number on x86-64.
    pub number: u16,
    /// Its name.
    pub name: &'static str,
    /// What serves it.
    pub handler: Handler,
    /// How far.
    pub support: Support,
    /// What is missing, or which errno is answered.
    pub note: &'static str,
}

impl Row {
    /// A call that is served as Linux does. `number` is a `libc::SYS_*` constant.
    pub const fn full(number: i64, name: &'static str, handler: Handler) -> Self {
        Self::new(number, name, handler, Support::Full, "")
    }

    /// A call that is served with the limits that `note` names.
    pub const fn partial(
        number: i64,
        name: &'static str,
        handler: Handler,
        note: &'static str,
    ) -> Self {
        Self::new(number, name, handler, Support::Partial, note)
    }

    /// A call that always answers the errno that `note` names.
    pub const fn refused(
        number: i64,
        name: &'static str,
        handler: Handler,
        note: &'static str,
    ) -> Self {
        Self::new(number, name, handler, Support::Refused, note)
    }

    const fn new(
        number: i64,
        name: &'static str,
        handler: Handler,
        support: Support,
        note: &'static str,
    ) -> Self {
        Self {
            number: number as u16,
            name,
            handler,
            support,
            note,
        }
    }
}

/// A family file's rows.
pub type Family = &'static [Row];

/// All families. A family file exports `pub(crate) const ROWS: &[Row]`; it is added here.
const FAMILIES: &[Family] = &[
    super::clock::ROWS,
    super::creds::ROWS,
    super::dir::ROWS,
    super::epoll::ROWS,
    super::fd::ROWS,
    super::file_io::ROWS,
    super::file_meta::ROWS,
    super::futex::ROWS,
    super::ids::ROWS,
    super::inotify::ROWS,
    super::limits::ROWS,
    super::memory::ROWS,
    super::mount::ROWS,
    super::open::ROWS,
    super::path::ROWS,
    super::poll::ROWS,
    super::prctl::ROWS,
    super::process::ROWS,
    super::sched::ROWS,
    super::membarrier::ROWS,
    super::signal::ROWS,
    super::signalfd::ROWS,
    super::socket::ROWS,
    super::socket_msg::ROWS,
    super::special::ROWS,
    super::stat::ROWS,
    super::storage::ROWS,
    super::sysinfo::ROWS,
    super::timer::ROWS,
    super::timerfd::ROWS,
    super::transfer::ROWS,
    super::xattr::ROWS,
];

/// One more than the highest number that is looked up.
pub const NUMBERS: usize = 512;

const fn build() -> [Row; NUMBERS] {
    let nothing = Row::new(0, "", unimplemented, Support::None, "ENOSYS");
    let mut table = [nothing; NUMBERS];
    let mut number = 0;
    while number < NUMBERS {
        table[number].number = number as u16;
        number += 1;
    }
    let mut family = 0;
    while family < FAMILIES.len() {
        let rows = FAMILIES[family];
        let mut at = 0;
        while at < rows.len() {
            let row = rows[at];
            assert!(
                matches!(table[row.number as usize].support, Support::None),
                "a system call is in two families"
            );
            table[row.number as usize] = row;
            at += 1;
        }
        family += 1;
    }
    table
}

/// The table, indexed by number.
pub static TABLE: [Row; NUMBERS] = build();

/// The row of `number`; `None` beyond the table.
#[inline]
pub fn row(number: u64) -> Option<&'static Row> {
    TABLE.get(usize::try_from(number).ok()?)
}

fn unimplemented(task: &mut Task, _: &Args) -> Result<Outcome, Errno> {
    task.kernel.count_unimplemented(task.regs.orig_rax);
    Err(Errno::ENOSYS)
}
