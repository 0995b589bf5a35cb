//! Threads and epoll around a stack: blocking, std-like sockets.
