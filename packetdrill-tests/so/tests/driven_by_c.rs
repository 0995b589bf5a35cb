//! The library as the classic tool uses it: loaded by name, through a structure that is declared here
//! anew, in virtual time.
#![allow(unsafe_code)] // a C interface, called from its other side

use std::ffi::{CString, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::mem::{MaybeUninit, size_of, zeroed};
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{
    epoll_event, iovec, loff_t, msghdr, nfds_t, pollfd, size_t, sockaddr, sockaddr_in, socklen_t,
    ssize_t, timeval, useconds_t,
};

type Data = *mut c_void;

/// `struct packetdrill_interface`, as its C declaration reads.
#[repr(C)]
struct Interface {
    userdata: Data,
    free: extern "C" fn(Data),
    socket: extern "C" fn(Data, c_int, c_int, c_int) -> c_int,
    bind: extern "C" fn(Data, c_int, *const sockaddr, socklen_t) -> c_int,
    listen: extern "C" fn(Data, c_int, c_int) -> c_int,
    accept: extern "C" fn(Data, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    connect: extern "C" fn(Data, c_int, *const sockaddr, socklen_t) -> c_int,
    read: extern "C" fn(Data, c_int, *mut c_void, size_t) -> ssize_t,
    readv: extern "C" fn(Data, c_int, *const iovec, c_int) -> ssize_t,
    recv: extern "C" fn(Data, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    recvfrom: extern "C" fn(
        Data,
        c_int,
        *mut c_void,
        size_t,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    recvmsg: extern "C" fn(Data, c_int, *mut msghdr, c_int) -> ssize_t,
    write: extern "C" fn(Data, c_int, *const c_void, size_t) -> ssize_t,
    writev: extern "C" fn(Data, c_int, *const iovec, c_int) -> ssize_t,
    send: extern "C" fn(Data, c_int, *const c_void, size_t, c_int) -> ssize_t,
    sendto: extern "C" fn(
        Data,
        c_int,
        *const c_void,
        size_t,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    sendmsg: extern "C" fn(Data, c_int, *const msghdr, c_int) -> ssize_t,
    fcntl: unsafe extern "C" fn(Data, c_int, c_int, ...) -> c_int,
    ioctl: unsafe extern "C" fn(Data, c_int, c_ulong, ...) -> c_int,
    close: extern "C" fn(Data, c_int) -> c_int,
    shutdown: extern "C" fn(Data, c_int, c_int) -> c_int,
    getsockopt: extern "C" fn(Data, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    setsockopt: extern "C" fn(Data, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    poll: extern "C" fn(Data, *mut pollfd, nfds_t, c_int) -> c_int,
    netdev_send: extern "C" fn(Data, *const c_void, size_t) -> c_int,
    netdev_receive: extern "C" fn(Data, *mut c_void, *mut size_t, *mut i64) -> c_int,
    usleep: extern "C" fn(Data, useconds_t) -> c_int,
    gettimeofday: extern "C" fn(Data, *mut timeval, *mut c_void) -> c_int,
    epoll_create: extern "C" fn(Data, c_int) -> c_int,
    epoll_ctl: extern "C" fn(Data, c_int, c_int, c_int, *mut epoll_event) -> c_int,
    epoll_wait: extern "C" fn(Data, c_int, *mut epoll_event, c_int, c_int) -> c_int,
    pipe: extern "C" fn(Data, *mut c_int) -> c_int,
    splice: extern "C" fn(Data, c_int, *mut loff_t, c_int, *mut loff_t, size_t, c_uint) -> ssize_t,
}

// SAFETY: the library's own lock is what makes it usable from several threads, as the tool does.
unsafe impl Sync for Interface {}

/// What the addresses of the scripts of this test are.
const LOCAL: [u8; 4] = [192, 168, 0, 1];
const REMOTE: [u8; 4] = [192, 0, 2, 1];
const PORT: u16 = 8080;
const PEER_PORT: u16 = 4000;
const PEER_ISN: u32 = 1000;

const SYN: u8 = 2;
const ACK: u8 = 16;
const PSH: u8 = 8;
const FIN: u8 = 1;

/// The library, built beside this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("it has a path");
    let beside = test.parent().expect("a directory");
    let name = "libpacketdrill_netstack.so";
    let places = [beside.join(name), beside.join("..").join(name)];
    places
        .into_iter()
        .find(|path| path.exists())
        .expect("cargo builds the library before this test")
}

fn load(flags: &str) -> Interface {
    let path = CString::new(library().to_str().expect("text")).expect("no zero byte");
    // SAFETY: a path that ends in zero; the library stays loaded for the life of the test.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "{} is loaded", path.to_string_lossy());
    // SAFETY: a library that is open, and a name that ends in zero.
    let symbol = unsafe { libc::dlsym(handle, c"packetdrill_interface_init".as_ptr()) };
    assert!(!symbol.is_null(), "the symbol is there");
    // SAFETY: that is the type of the symbol, by the interface's declaration.
    let init: extern "C" fn(*const c_char, *mut Interface) = unsafe { std::mem::transmute(symbol) };
    let flags = CString::new(flags).expect("no zero byte");
    let mut interface = MaybeUninit::uninit();
    init(flags.as_ptr(), interface.as_mut_ptr());
    // SAFETY: `init` has filled every member.
    unsafe { interface.assume_init() }
}

fn sum(bytes: &[u8], start: u32) -> u32 {
    bytes.chunks(2).fold(start, |sum, pair| {
        sum + (u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
    })
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A segment of the peer's, from its IP header on.
fn segment(flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
    let mut tcp = [PEER_PORT.to_be_bytes(), PORT.to_be_bytes()].concat();
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    tcp.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(data);
    let len = tcp.len() as u32;
    let pseudo = sum(&LOCAL, sum(&REMOTE, 6 + len));
    let check = fold(sum(&tcp, pseudo));
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    let total = (20 + len) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    ip.extend(REMOTE);
    ip.extend(LOCAL);
    let check = fold(sum(&ip, 0));
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    ip.extend(tcp);
    ip
}

/// What a segment of the stack's says: flags, sequence number, acknowledgement number, data.
#[derive(Debug, PartialEq)]
struct Seen {
    flags: u8,
    seq: u32,
    ack: u32,
    data: Vec<u8>,
}

impl Interface {
    fn inject(&self, packet: &[u8]) {
        let result = (self.netdev_send)(self.userdata, packet.as_ptr().cast(), packet.len());
        assert_eq!(result, 0);
    }

    /// The next segment and its time; `None` if none comes.
    fn receive(&self) -> Option<(Seen, i64)> {
        let mut buffer = vec![0_u8; 65_536];
        let mut count = buffer.len();
        let mut time = 0;
        let into = buffer.as_mut_ptr().cast();
        let result = (self.netdev_receive)(self.userdata, into, &raw mut count, &raw mut time);
        assert_eq!(result, 0, "otherwise the tool would ask for ever");
        if count == 0 {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes(buffer[at..at + 4].try_into().expect("four"));
        let offset = 20 + usize::from(buffer[32] >> 4) * 4;
        let seen = Seen {
            flags: buffer[33],
            seq: word(24),
            ack: word(28),
            data: buffer[offset..count].to_vec(),
        };
        Some((seen, time))
    }

    fn now(&self) -> i64 {
        // SAFETY: plain numbers.
        let mut time: timeval = unsafe { zeroed() };
        assert_eq!(
            (self.gettimeofday)(self.userdata, &raw mut time, null_mut()),
            0
        );
        time.tv_sec * 1_000_000 + time.tv_usec
    }

    fn listener(&self) -> c_int {
        let fd = (self.socket)(self.userdata, libc::AF_INET, libc::SOCK_STREAM, 0);
        assert!(fd >= 0);
        let address = sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: PORT.to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(LOCAL),
            },
            sin_zero: [0; 8],
        };
        let len = size_of::<sockaddr_in>() as socklen_t;
        let bound = (self.bind)(self.userdata, fd, (&raw const address).cast(), len);
        assert_eq!(bound, 0);
        assert_eq!((self.listen)(self.userdata, fd, 1), 0);
        fd
    }

    /// The peer's handshake; returns our initial sequence number.
    fn handshake(&self) -> u32 {
        self.inject(&segment(SYN, PEER_ISN, 0, &[]));
        let (answer, _) = self.receive().expect("a SYN-ACK");
        assert_eq!((answer.flags, answer.ack), (SYN | ACK, PEER_ISN + 1));
        self.inject(&segment(ACK, PEER_ISN + 1, answer.seq + 1, &[]));
        answer.seq
    }

    fn accept_one(&self, listener: c_int) -> c_int {
        // SAFETY: plain numbers.
        let mut peer: sockaddr_in = unsafe { zeroed() };
        let mut len = size_of::<sockaddr_in>() as socklen_t;
        let into = (&raw mut peer).cast();
        let fd = (self.accept)(self.userdata, listener, into, &raw mut len);
        assert!(fd >= 0);
        assert_eq!(u16::from_be(peer.sin_port), PEER_PORT);
        assert_eq!(peer.sin_addr.s_addr.to_ne_bytes(), REMOTE);
        fd
    }
}

#[test]
fn a_connection_from_its_handshake_to_its_end() {
    let lib = load("defaults,local=192.168.0.1,net.ipv4.tcp_timestamps=0");
    let listener = lib.listener();
    let isn = lib.handshake();
    let fd = lib.accept_one(listener);

    lib.inject(&segment(PSH | ACK, PEER_ISN + 1, isn + 1, b"to you"));
    let mut buffer = [0_u8; 16];
    let into = buffer.as_mut_ptr().cast();
    assert_eq!((lib.read)(lib.userdata, fd, into, buffer.len()), 6);
    assert_eq!(&buffer[..6], b"to you");
    let (ack, _) = lib.receive().expect("an acknowledgement");
    assert_eq!((ack.flags, ack.ack), (ACK, PEER_ISN + 7));

    let parts = [b"to ".as_slice(), b"them".as_slice()].map(|part| iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    });
    assert_eq!((lib.writev)(lib.userdata, fd, parts.as_ptr(), 2), 7);
    let (data, _) = lib.receive().expect("a segment");
    assert_eq!(
        (data.seq, data.data.as_slice()),
        (isn + 1, b"to them".as_slice())
    );
    lib.inject(&segment(ACK, PEER_ISN + 7, isn + 8, &[]));

    assert_eq!((lib.close)(lib.userdata, fd), 0);
    let (fin, _) = lib.receive().expect("a FIN");
    assert_eq!((fin.flags, fin.seq), (FIN | ACK, isn + 8));
    lib.inject(&segment(FIN | ACK, PEER_ISN + 7, isn + 9, &[]));
    let (last, _) = lib.receive().expect("the last acknowledgement");
    assert_eq!((last.flags, last.ack), (ACK, PEER_ISN + 8));
    assert_eq!(lib.receive(), None, "and nothing more");
    (lib.free)(lib.userdata);
}

#[test]
fn time_is_virtual_and_moves_with_each_question() {
    let lib = load("");
    let began = lib.now();
    assert!(lib.now() > began, "the tool spins on the clock");
    assert_eq!((lib.usleep)(lib.userdata, 60_000_000), 0);
    assert!((60_000_000..60_000_100).contains(&(lib.now() - began)));
    let listener = lib.listener();
    lib.inject(&segment(SYN, PEER_ISN, 0, &[]));
    let (_, first) = lib.receive().expect("a SYN-ACK");
    let (_, second) = lib.receive().expect("the same again, a second later");
    assert!((990_000..1_010_000).contains(&(second - first)));
    assert_eq!((lib.close)(lib.userdata, listener), 0);
    (lib.free)(lib.userdata);
}

#[test]
fn a_call_that_blocks_returns_at_the_time_of_what_it_waits_for() {
    let lib = load("");
    let listener = lib.listener();
    let isn = lib.handshake();
    let fd = lib.accept_one(listener);
    let began = lib.now();
    let thread = AtomicI32::new(0);
    let returned = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            // SAFETY: the call takes nothing and cannot fail.
            thread.store(unsafe { libc::gettid() }, Ordering::Release);
            let mut buffer = [0_u8; 16];
            let into = buffer.as_mut_ptr().cast();
            let count = (lib.read)(lib.userdata, fd, into, buffer.len());
            (count, lib.now() - began)
        });
        // Whenever the reader comes to its call: virtual time does not pass by itself.
        while !is_asleep(thread.load(Ordering::Acquire)) {
            std::thread::yield_now();
        }
        assert_eq!((lib.usleep)(lib.userdata, 500_000), 0);
        lib.inject(&segment(PSH | ACK, PEER_ISN + 1, isn + 1, b"late"));
        assert_eq!((lib.usleep)(lib.userdata, 500_000), 0);
        reader.join().expect("it returns")
    });
    assert_eq!(returned.0, 4);
    assert!((500_000..500_100).contains(&returned.1), "{returned:?}");
    (lib.free)(lib.userdata);
}

/// True once the thread sleeps, found out as the tool does.
fn is_asleep(thread: i32) -> bool {
    let path = format!("/proc/self/task/{thread}/stat");
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.starts_with(" S"))
}

#[test]
fn epoll_options_and_what_is_not_there() {
    let lib = load("");
    let listener = lib.listener();
    let epoll = (lib.epoll_create)(lib.userdata, 1);
    let mut event = epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 42,
    };
    let add = libc::EPOLL_CTL_ADD;
    let added = (lib.epoll_ctl)(lib.userdata, epoll, add, listener, &raw mut event);
    assert_eq!(added, 0);
    let mut events = [epoll_event { events: 0, u64: 0 }; 2];
    let wait = |events: &mut [epoll_event; 2]| {
        (lib.epoll_wait)(lib.userdata, epoll, events.as_mut_ptr(), 2, 0)
    };
    assert_eq!(wait(&mut events), 0);
    lib.handshake();
    assert_eq!(wait(&mut events), 1);
    assert_eq!({ events[0].u64 }, 42);

    let mut entry = pollfd {
        fd: listener,
        events: libc::POLLIN,
        revents: 0,
    };
    assert_eq!((lib.poll)(lib.userdata, &raw mut entry, 1, -1), 1);
    assert_eq!(entry.revents, libc::POLLIN);

    let one: c_int = 1;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
    let value = (&raw const one).cast();
    assert_eq!(
        (lib.setsockopt)(lib.userdata, listener, level, name, value, 4),
        0
    );
    let (mut seen, mut len): (c_int, socklen_t) = (0, 4);
    let into = (&raw mut seen).cast();
    assert_eq!(
        (lib.getsockopt)(lib.userdata, listener, level, name, into, &raw mut len),
        0
    );
    assert_eq!((seen, len), (1, 4));

    // SAFETY: both take one argument more for these requests.
    let flags = unsafe {
        (lib.fcntl)(
            lib.userdata,
            listener,
            libc::F_SETFL,
            c_long::from(libc::O_NONBLOCK),
        );
        (lib.fcntl)(lib.userdata, listener, libc::F_GETFL)
    };
    assert_eq!(flags, libc::O_RDWR | libc::O_NONBLOCK);
    let fd = lib.accept_one(listener);
    let mut waiting: c_int = -1;
    // SAFETY: the request fills an integer.
    let result = unsafe {
        (lib.ioctl)(
            lib.userdata,
            fd,
            libc::FIONREAD as c_ulong,
            &raw mut waiting,
        )
    };
    assert_eq!((result, waiting), (0, 0));
    let nobody = (lib.accept)(lib.userdata, listener, null_mut(), null_mut());
    assert_eq!((nobody, errno()), (-1, libc::EAGAIN));
    assert_eq!((lib.write)(lib.userdata, fd, null(), 5), -1);
    assert_eq!(errno(), libc::EFAULT);
    assert_eq!((lib.pipe)(lib.userdata, null_mut()), -1);
    assert_eq!(errno(), libc::ENOSYS);
    (lib.free)(lib.userdata);
}

#[test]
fn flags_that_make_no_sense_let_every_call_fail() {
    let lib = load("no such flag");
    assert_eq!(
        (lib.socket)(lib.userdata, libc::AF_INET, libc::SOCK_STREAM, 0),
        -1
    );
    assert_eq!(errno(), libc::ENXIO);
    (lib.free)(lib.userdata);
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
