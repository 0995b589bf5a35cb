//! File systems, and the files that have no path.

pub mod dev;
pub mod epoll;
pub mod eventfd;
pub mod host;
pub mod inotify;
pub mod overlay;
pub mod pipe;
pub mod proc;
pub mod pseudo;
pub mod sys;
pub mod timerfd;
pub mod tmpfs;
pub mod tty;
