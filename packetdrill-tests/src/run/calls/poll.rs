//! poll and epoll, over the target's readiness.

use std::collections::BTreeMap;

use super::super::epoll::{ALWAYS, Epoll};
use super::{Args, Attempt, File, Progress, Returned, Row, Runner, arg, values};
use crate::ast::{Expr, Micros};
use nix::errno::Errno;

impl Runner<'_> {
    fn ready(&mut self, fd: i64, events: i16) -> i16 {
        match self.socket(fd) {
            Ok(socket) => self.target.poll(socket.handle) & (events | ALWAYS),
            Err(_) => libc::POLLNVAL,
        }
    }

    /// True once a call with this timeout in milliseconds has waited long enough.
    fn timed_out(&self, timeout: i64, progress: &mut Progress) -> bool {
        let now = self.target.now();
        match timeout {
            ..0 => false,
            0 => true,
            _ => {
                let end: Micros = now.saturating_add(timeout.saturating_mul(1_000));
                now >= *progress.deadline.get_or_insert(end)
            }
        }
    }

    pub(super) fn sys_poll(&mut self, args: &[Expr], progress: &mut Progress) -> Args<Attempt> {
        let Expr::Array(items) = arg(args, 0)? else {
            return Err("an array of {fd=..., events=...} is needed here".to_owned());
        };
        let mut rows = Vec::new();
        let mut count = 0;
        for item in items {
            let Expr::Struct(fields) = item else {
                return Err("a pollfd is {fd=..., events=..., revents=...}".to_owned());
            };
            let get = |name: &str| values::field(fields, name).map(values::int32).transpose();
            let fd = get("fd")?.ok_or("a pollfd needs fd")?;
            let events = get("events")?.unwrap_or(0) as i16;
            let seen = self.ready(i64::from(fd), events);
            count += i64::from(seen != 0);
            if let Some(wanted) = get("revents")? {
                rows.push(Row::new(
                    "revents",
                    bits_text(wanted as i16),
                    bits_text(seen),
                ));
            }
        }
        let timeout = values::int(arg(args, 2)?)?;
        if count == 0 && !self.timed_out(timeout, progress) {
            return Ok(Attempt::Wait);
        }
        Ok(Attempt::Done(Returned {
            value: Ok(count),
            rows,
        }))
    }

    pub(super) fn sys_epoll_create(&mut self, result: &Expr) -> Args<Attempt> {
        let file = match self.target.epoll_create() {
            None => File::Epoll(Epoll::default()),
            Some(Ok(handle)) => File::TargetEpoll(handle),
            Some(Err(errno)) => return Ok(Err(errno).into()),
        };
        let fd = self.install(result, file)?;
        Ok(Ok(fd).into())
    }

    pub(super) fn sys_epoll_ctl(&mut self, args: &[Expr]) -> Args<Attempt> {
        let epoll = values::int(arg(args, 0)?)?;
        let operation = values::int32(arg(args, 1)?)?;
        let fd = values::int(arg(args, 2)?)?;
        let events = match args.get(3) {
            Some(Expr::Struct(fields)) => values::field(fields, "events")
                .map(values::int32)
                .transpose()?
                .unwrap_or(0),
            _ => 0,
        };
        if !self.files.table.contains_key(&fd) {
            return Ok(Err(Errno::EBADF).into());
        }
        if let Some(File::TargetEpoll(handle)) = self.files.table.get(&epoll) {
            let handle = *handle;
            let socket = match self.socket(fd) {
                Ok(socket) => socket.handle,
                Err(errno) => return Ok(Err(errno).into()),
            };
            let data = fd.cast_unsigned();
            let done = self
                .target
                .epoll_control(handle, operation, socket, events, data);
            return Ok(done.map(|()| 0).into());
        }
        let Some(File::Epoll(interest)) = self.files.table.get_mut(&epoll) else {
            return Ok(Err(Errno::EBADF).into());
        };
        let result = interest.control(operation, fd, events, 0).map(|()| 0);
        self.note_edges();
        Ok(result.into())
    }

    /// Looks for edges on everything that is watched for them.
    pub(super) fn note_edges(&mut self) {
        let epolls: Vec<(i64, Vec<i64>)> = self
            .files
            .table
            .iter()
            .filter_map(|(fd, file)| match file {
                File::Epoll(epoll) => Some((*fd, epoll.edge_watched())),
                File::Socket(_) | File::TargetEpoll(_) => None,
            })
            .filter(|(_, watched)| !watched.is_empty())
            .collect();
        // Asked once for all that watch: asking takes the news away.
        let mut news: BTreeMap<i64, bool> = BTreeMap::new();
        for fd in epolls.iter().flat_map(|(_, watched)| watched) {
            if let (false, Ok(socket)) = (news.contains_key(fd), self.socket(*fd)) {
                news.insert(*fd, self.target.has_news(socket.handle));
            }
        }
        for (epoll, watched) in epolls {
            for fd in watched {
                let ready = self.ready(fd, i16::MAX);
                let received = self.bytes_received(fd);
                let news = news.get(&fd).copied().unwrap_or(false);
                if let Some(File::Epoll(epoll)) = self.files.table.get_mut(&epoll) {
                    epoll.note(fd, ready, received, news);
                }
            }
        }
    }

    fn bytes_received(&mut self, fd: i64) -> i64 {
        let info = match self.socket(fd) {
            Ok(socket) => self.target.tcp_info(socket.handle).unwrap_or_default(),
            Err(_) => return 0,
        };
        let bytes = info.iter().find(|(name, _)| *name == "tcpi_bytes_received");
        bytes.map_or(0, |(_, bytes)| *bytes)
    }

    /// What an instance reports now: descriptors and events.
    fn take_events(&mut self, epoll: i64, max: usize) -> Result<Vec<(i64, i16)>, Errno> {
        let interest = match self.files.table.get(&epoll) {
            Some(File::Epoll(interest)) => interest.watched(),
            Some(File::TargetEpoll(handle)) => {
                let events = self.target.epoll_take(*handle, max)?.into_iter();
                let events = events.map(|(bits, data)| (data.cast_signed(), bits as i16));
                return Ok(events.collect());
            }
            _ => return Err(Errno::EBADF),
        };
        let mut ready = Vec::new();
        for (fd, events) in interest {
            let seen = self.ready(fd, events as i16);
            if ready.len() < max
                && let Some(File::Epoll(epoll)) = self.files.table.get_mut(&epoll)
                && epoll.fires(fd, seen).is_some()
            {
                ready.push((fd, seen));
            }
        }
        Ok(ready)
    }

    pub(super) fn sys_epoll_wait(
        &mut self,
        args: &[Expr],
        progress: &mut Progress,
    ) -> Args<Attempt> {
        let epoll = values::int(arg(args, 0)?)?;
        let max = values::length(arg(args, 2)?)?;
        let ready = match self.take_events(epoll, max) {
            Ok(ready) => ready,
            Err(errno) => return Ok(Err(errno).into()),
        };
        let timeout = values::int(arg(args, 3)?)?;
        if ready.is_empty() && !self.timed_out(timeout, progress) {
            return Ok(Attempt::Wait);
        }
        let mut rows = Vec::new();
        if let (Expr::Struct(fields), Some((_, seen))) = (arg(args, 1)?, ready.first())
            && let Some(wanted) = values::field(fields, "events")
            && *wanted != Expr::Ellipsis
        {
            let wanted = values::int32(wanted)? as i16;
            rows.push(Row::new("events", bits_text(wanted), bits_text(*seen)));
        }
        Ok(Attempt::Done(Returned {
            value: Ok(ready.len() as i64),
            rows,
        }))
    }
}

fn bits_text(bits: i16) -> String {
    const NAMES: [(&str, i16); 6] = [
        ("POLLIN", libc::POLLIN),
        ("POLLPRI", libc::POLLPRI),
        ("POLLOUT", libc::POLLOUT),
        ("POLLERR", libc::POLLERR),
        ("POLLHUP", libc::POLLHUP),
        ("POLLRDHUP", libc::POLLRDHUP),
    ];
    let known: Vec<&str> = NAMES
        .iter()
        .filter(|(_, bit)| bits & bit != 0)
        .map(|(name, _)| *name)
        .collect();
    let rest = NAMES.iter().fold(bits, |rest, (_, bit)| rest & !bit);
    match (known.is_empty(), rest) {
        (true, 0) => "0".to_owned(),
        (_, 0) => known.join("|"),
        _ => format!("{}|{rest:#x}", known.join("|")),
    }
}
