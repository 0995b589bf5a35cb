//! What guests see of their memory, over the model platform.

use std::sync::Arc;

use libc::{
    MAP_FIXED, MAP_GROWSDOWN, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE,
};
use sentry_abi::Errno;

use super::testing::{Guest, HostFile};
use super::{MemoryFile, MmapRequest, PAGE_SIZE};

const RW: i32 = PROT_READ | PROT_WRITE;
const PAGE: u64 = PAGE_SIZE;

fn guest() -> (Arc<MemoryFile>, Guest) {
    let memory = MemoryFile::new().unwrap();
    let guest = Guest::new(&memory);
    (memory, guest)
}

fn map_file(guest: &Guest, file: &Arc<HostFile>, len: u64, prot: i32, flags: i32) -> u64 {
    let request = MmapRequest {
        file: Some((file.clone(), 0)),
        flags,
        ..MmapRequest::anonymous(0, len, prot, 0)
    };
    guest.mm.mmap(&request).unwrap()
}

#[test]
fn untouched_mappings_cost_no_order_and_large_ones_few() {
    let (_, guest) = guest();
    let len = 32 << 20;
    let request = MmapRequest::anonymous(0, len, RW, MAP_NORESERVE);
    let addr = guest.mm.mmap(&request).unwrap();
    guest.mm.munmap(addr, len).unwrap();
    assert_eq!(guest.applies(), 0);
    let addr = guest.mm.mmap(&request).unwrap();
    guest.store(addr + len / 2, b"x").unwrap();
    guest.store(addr, b"y").unwrap();
    guest.store(addr + len - 1, b"z").unwrap();
    assert!(guest.applies() <= 3, "{} orders", guest.applies());
    assert_eq!(guest.load(addr + len / 2, 1), Ok(b"x".to_vec()));
}

#[test]
fn memory_gone_through_in_order_costs_few_orders_and_keeps_what_is_in_it() {
    let (memory, guest) = guest();
    let len = 8 << 20;
    let request = MmapRequest::anonymous(0, len, RW, MAP_NORESERVE);
    let addr = guest.mm.mmap(&request).unwrap();
    // What the Sentry writes ahead of the guest (a read into a buffer) must not become zeros.
    let ahead = addr + (3 << 20) + 5;
    guest.mm.write(ahead, b"kept").unwrap();
    for page in (addr..addr + len).step_by(PAGE_SIZE as usize) {
        assert_eq!(guest.load(page, 1), Ok(vec![0]));
        guest.store(page, b"t").unwrap();
    }
    assert!(guest.applies() <= 10, "{} orders", guest.applies());
    assert_eq!(guest.load(ahead, 4), Ok(b"kept".to_vec()));
    guest.mm.munmap(addr, len).unwrap();
    memory.flush();
    assert_eq!(memory.resident(), 0);
}

#[test]
fn forks_see_their_own_writes_only_and_all_memory_comes_back() {
    let (memory, parent) = guest();
    let addr = parent
        .mm
        .mmap(&MmapRequest::anonymous(0, 256 * PAGE, RW, 0))
        .unwrap();
    parent.store(addr, b"before").unwrap();
    parent.mm.write(addr + 200 * PAGE, b"far").unwrap();
    let child = parent.fork();
    assert_eq!(child.load(addr, 6), Ok(b"before".to_vec()));
    parent.store(addr, b"parent").unwrap();
    child.mm.write(addr, b"child!").unwrap();
    assert_eq!(parent.load(addr, 6), Ok(b"parent".to_vec()));
    assert_eq!(child.load(addr, 6), Ok(b"child!".to_vec()));
    assert_eq!(child.mm.read_val::<[u8; 3]>(addr + 200 * PAGE), Ok(*b"far"));
    drop(parent);
    // The sole owner takes the rest back with one order and no copy.
    let before = (memory.resident(), child.applies());
    child.store(addr + 200 * PAGE, b"own").unwrap();
    assert_eq!(memory.resident(), before.0);
    assert_eq!(child.applies(), before.1 + 1);
    drop(child);
    assert_eq!(memory.allocated(), 0);
    memory.flush();
    assert_eq!(memory.resident(), 0);
}

#[test]
fn shared_memory_is_shared_across_forks() {
    let (memory, parent) = guest();
    let mut request = MmapRequest::anonymous(0, 4 * PAGE, RW, 0);
    request.flags = libc::MAP_ANONYMOUS | MAP_SHARED;
    let addr = parent.mm.mmap(&request).unwrap();
    let child = parent.fork();
    child.store(addr + PAGE, b"hello").unwrap();
    assert_eq!(parent.load(addr + PAGE, 5), Ok(b"hello".to_vec()));
    assert_eq!(
        parent.mm.futex_key(addr, true),
        child.mm.futex_key(addr, true)
    );
    assert_ne!(
        parent.mm.futex_key(addr, false),
        child.mm.futex_key(addr, false)
    );
    drop((parent, child));
    assert_eq!(memory.allocated(), 0);
}

#[test]
fn private_files_are_read_in_place_and_written_in_memory() {
    let (memory, guest) = guest();
    let contents: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let file = HostFile::with(&contents);
    let addr = map_file(&guest, &file, 1 << 20, RW, MAP_PRIVATE);
    assert_eq!(guest.load(addr + 300, 4), Ok(vec![44, 45, 46, 47]));
    assert_eq!(memory.resident(), 0);
    guest.store(addr + 301, b"!").unwrap();
    assert_eq!(guest.load(addr + 300, 4), Ok(vec![44, b'!', 46, 47]));
    let mut bytes = [0; 4];
    guest.mm.read(addr + 300, &mut bytes).unwrap();
    assert_eq!(bytes, [44, b'!', 46, 47]);
    // The tail of the last page is zeros; after it there is nothing.
    assert_eq!(guest.load(addr + 100_000, 4), Ok(vec![0; 4]));
    assert_eq!(guest.load(addr + 25 * PAGE, 1), Err(libc::SIGBUS));
    assert_eq!(guest.store(addr + 25 * PAGE, b"x"), Err(libc::SIGBUS));
    let mut out = vec![1; 200];
    assert_eq!(guest.mm.read_partial(addr + 25 * PAGE - 100, &mut out), 100);
    let mut original = [0];
    nix::sys::uio::pread(&file.0, &mut original, 301).unwrap();
    assert_eq!(original, [45]);
    drop(guest);
    assert_eq!(memory.allocated(), 0);
}

#[test]
fn shared_files_are_written_through() {
    let (_, guest) = guest();
    let file = HostFile::with(&[0; 5000]);
    let addr = map_file(&guest, &file, 2 * PAGE, RW, MAP_SHARED);
    guest.mm.write(addr + 4090, b"across pages").unwrap();
    let mut bytes = [0; 12];
    nix::sys::uio::pread(&file.0, &mut bytes, 4090).unwrap();
    assert_eq!(&bytes, b"across pages");
    assert_eq!(guest.mm.atomic_u32_cmpxchg(addr, 0, 7), Ok(0));
    assert_eq!(guest.mm.atomic_u32_load(addr), Ok(7));
    assert_eq!(guest.mm.atomic_u32_fetch_op(addr, |v| v + 1), Ok(7));
    assert_eq!(guest.mm.atomic_u32_load(addr + 2), Err(Errno::EINVAL));
}

#[test]
fn protections_bind_the_sentry_too() {
    let (_, guest) = guest();
    let addr = guest
        .mm
        .mmap(&MmapRequest::anonymous(0, 4 * PAGE, RW, 0))
        .unwrap();
    guest.store(addr, b"data").unwrap();
    guest.mm.mprotect(addr, PAGE, PROT_READ).unwrap();
    assert_eq!(guest.store(addr, b"x"), Err(libc::SIGSEGV));
    assert_eq!(guest.mm.write(addr, b"x"), Err(Errno::EFAULT));
    guest.mm.mprotect(addr, PAGE, 0).unwrap();
    assert_eq!(guest.mm.read_val::<u32>(addr), Err(Errno::EFAULT));
    guest.mm.mprotect(addr, PAGE, RW).unwrap();
    assert_eq!(guest.load(addr, 4), Ok(b"data".to_vec()));
    assert_eq!(guest.mm.mprotect(addr, 8 * PAGE, RW), Err(Errno::ENOMEM));
    assert_eq!(guest.mm.read_val::<u32>(0), Err(Errno::EFAULT));
    assert_eq!(guest.mm.read_val::<u32>(u64::MAX - 1), Err(Errno::EFAULT));
}

#[test]
fn stacks_grow_to_their_limit() {
    let (_, guest) = guest();
    let top = 0x7000_0000_0000;
    let request = MmapRequest::anonymous(top - PAGE, PAGE, RW, MAP_FIXED | MAP_GROWSDOWN);
    guest.mm.mmap(&request).unwrap();
    guest.store(top - (1 << 20), b"deep").unwrap();
    guest.store(top - (8 << 20), b"end").unwrap();
    assert_eq!(guest.store(top - (8 << 20) - 1, b"x"), Err(libc::SIGSEGV));
    assert_eq!(guest.load(top - (1 << 20), 4), Ok(b"deep".to_vec()));
}

#[test]
fn the_heap_grows_and_shrinks_and_stays_contiguous() {
    let (_, guest) = guest();
    let start = 0x5555_0000_0000;
    guest.mm.set_heap_start(start);
    for step in 1..=64 {
        let end = start + step * 33 * PAGE;
        assert_eq!(guest.mm.brk(end), end);
        guest.store(end - 8, b"contents").unwrap();
    }
    // 8 MiB in steps: few host mappings, since memory near by is near in the file.
    assert!(guest.host_mappings() <= 6, "{}", guest.host_mappings());
    assert_eq!(guest.mm.brk(start + PAGE), start + PAGE);
    assert_eq!(guest.load(start + PAGE, 1), Err(libc::SIGSEGV));
    assert_eq!(guest.mm.brk(start - 1), start + PAGE);
}

#[test]
fn strings_end_at_nul_or_at_the_bound() {
    let (_, guest) = guest();
    let addr = guest
        .mm
        .mmap(&MmapRequest::anonymous(0, 2 * PAGE, RW, 0))
        .unwrap();
    let end = addr + 2 * PAGE;
    guest.mm.write(end - 6, b"hello\0").unwrap();
    assert_eq!(guest.mm.read_cstr(end - 6, 100), Ok(b"hello".to_vec()));
    assert_eq!(guest.mm.read_cstr(end - 6, 5), Err(Errno::ENAMETOOLONG));
    guest.mm.write(end - 1, b"!").unwrap();
    assert_eq!(guest.mm.read_cstr(end - 6, 100), Err(Errno::EFAULT));
    guest.mm.write(addr, &[b'a'; 4100]).unwrap();
    guest.mm.write(addr + 4100, &[0]).unwrap();
    assert_eq!(guest.mm.read_cstr(addr, 8192).unwrap().len(), 4100);
}

#[test]
fn remapping_grows_in_place_moves_and_shrinks() {
    let (_, guest) = guest();
    let mm = &guest.mm;
    let addr = mm
        .mmap(&MmapRequest::anonymous(0, 32 * PAGE, RW, 0))
        .unwrap();
    mm.munmap(addr + 8 * PAGE, 8 * PAGE).unwrap();
    guest.store(addr, b"kept").unwrap();
    let grown = mm.mremap(addr, 8 * PAGE, 16 * PAGE, 0, 0);
    assert_eq!(grown, Ok(addr));
    let blocked = mm.mremap(addr, 16 * PAGE, 1 << 40, 0, 0);
    assert_eq!(blocked, Err(Errno::ENOMEM));
    let moved = mm.mremap(addr, 16 * PAGE, 4096 * PAGE, libc::MREMAP_MAYMOVE, 0);
    let moved = moved.unwrap();
    assert_ne!(moved, addr);
    assert_eq!(guest.load(moved, 4), Ok(b"kept".to_vec()));
    assert_eq!(guest.load(addr, 4), Err(libc::SIGSEGV));
    guest.store(moved + 4095 * PAGE, b"end").unwrap();
    assert_eq!(mm.mremap(moved, 4096 * PAGE, PAGE, 0, 0), Ok(moved));
    assert_eq!(guest.load(moved + PAGE, 1), Err(libc::SIGSEGV));
    assert_eq!(mm.mremap(moved, PAGE, 0, 0, 0), Err(Errno::EINVAL));
    assert_eq!(mm.mremap(addr, PAGE, PAGE, 0, 0), Err(Errno::EFAULT));
}

#[test]
fn discarded_memory_is_zero_again_without_orders() {
    let (memory, guest) = guest();
    let len = 256 * PAGE;
    let addr = guest
        .mm
        .mmap(&MmapRequest::anonymous(0, len, RW, 0))
        .unwrap();
    for page in 0..256 {
        guest.store(addr + page * PAGE, b"used").unwrap();
    }
    assert_eq!(guest.mm.usage().rss_anon, len);
    let applies = guest.applies();
    guest.mm.madvise(addr, len, libc::MADV_DONTNEED).unwrap();
    assert_eq!(guest.applies(), applies);
    assert_eq!(memory.resident(), 0);
    assert_eq!(guest.load(addr + 9 * PAGE, 4), Ok(vec![0; 4]));
    assert_eq!(guest.mm.madvise(addr, len, 9999), Err(Errno::EINVAL));
    assert_eq!(
        guest.mm.madvise(addr, len + PAGE, libc::MADV_WILLNEED),
        Err(Errno::ENOMEM)
    );
}

#[test]
fn placement_honours_hints_limits_and_flags() {
    use super::MemLimit;
    let (_, guest) = guest();
    let mm = &guest.mm;
    let hint = 0x1234_5678_9000;
    let request = MmapRequest::anonymous(hint, PAGE, RW, 0);
    assert_eq!(mm.mmap(&request), Ok(hint));
    assert_ne!(mm.mmap(&request), Ok(hint));
    let exact = MmapRequest::anonymous(hint, PAGE, RW, libc::MAP_FIXED_NOREPLACE);
    assert_eq!(mm.mmap(&exact), Err(Errno::EEXIST));
    let low = mm.mmap(&MmapRequest::anonymous(0, PAGE, RW, libc::MAP_32BIT));
    assert!(low.unwrap() < 1 << 31);
    let huge = MmapRequest::anonymous(0, 1 << 50, RW, 0);
    assert_eq!(mm.mmap(&huge), Err(Errno::ENOMEM));
    mm.set_limit(MemLimit::AddressSpace, 8 * PAGE);
    let over = MmapRequest::anonymous(0, 16 * PAGE, RW, 0);
    assert_eq!(mm.mmap(&over), Err(Errno::ENOMEM));
    let replacing = MmapRequest::anonymous(hint, PAGE, RW, MAP_FIXED);
    assert_eq!(mm.mmap(&replacing), Ok(hint));
    let unaligned = MmapRequest::anonymous(hint + 1, PAGE, RW, MAP_FIXED);
    assert_eq!(mm.mmap(&unaligned), Err(Errno::EINVAL));
}

#[test]
fn residence_and_locks_are_told() {
    use super::MemLimit;
    let (_, guest) = guest();
    let addr = guest
        .mm
        .mmap(&MmapRequest::anonymous(0, 4 * PAGE, RW, 0))
        .unwrap();
    guest.store(addr + PAGE, b"x").unwrap();
    assert_eq!(guest.mm.mincore(addr, 4 * PAGE), Ok(vec![0, 1, 0, 0]));
    assert_eq!(guest.mm.mincore(addr, 5 * PAGE), Err(Errno::ENOMEM));
    guest.mm.set_limit(MemLimit::Locked, 2 * PAGE);
    assert_eq!(
        guest.mm.mlock(addr, 4 * PAGE, false, false),
        Err(Errno::ENOMEM)
    );
    guest.mm.mlock(addr, 2 * PAGE, false, false).unwrap();
    assert_eq!(guest.mm.usage().locked, 2 * PAGE);
    guest.mm.munlock(addr, 4 * PAGE).unwrap();
    assert_eq!(guest.mm.usage().locked, 0);
    guest.mm.msync(addr, PAGE, libc::MS_SYNC).unwrap();
    assert_eq!(guest.mm.msync(addr, PAGE, 99), Err(Errno::EINVAL));
}

#[test]
fn guest_buffers_are_filled_by_the_host_directly() {
    use super::io::{IoDst, IoSrc};
    use super::{IoVec, IoVecs};
    use std::os::fd::AsFd;
    let (_, guest) = guest();
    let addr = guest
        .mm
        .mmap(&MmapRequest::anonymous(0, 64 * PAGE, RW, 0))
        .unwrap();
    let child = guest.fork();
    child.store(addr + 16 * PAGE, b"broken").unwrap();
    let vecs: IoVecs = [(addr + 10, 100_000), (addr + 200_000, 10)]
        .into_iter()
        .map(|(addr, len)| IoVec { addr, len })
        .collect();
    let data: Vec<u8> = (0..100_010u32).map(|i| (i * 7) as u8).collect();
    let file = HostFile::with(&data);
    let mut dst = child.mm.user_dst(vecs.clone());
    let mut given = 0;
    while dst.remaining() > 0 {
        let n = dst
            .fill_with(usize::MAX, &mut |host| {
                super::sys::preadv(file.0.as_fd(), host, given as i64)
            })
            .unwrap();
        assert!(n > 0);
        given += n;
    }
    let mut src = child.mm.user_src(vecs);
    let mut back = vec![0; 100_010];
    assert_eq!(src.take(&mut back), Ok(100_010));
    assert_eq!(back, data);
    assert_eq!(guest.load(addr + 10, 4), Ok(vec![0; 4]));
    assert_eq!(guest.mm.read_iovecs(0, 2).err(), Some(Errno::EFAULT));
    assert_eq!(guest.mm.read_iovecs(addr, 2000).err(), Some(Errno::EINVAL));
}

/// A file in memory whose pages are stored apart, last page first.
struct Scattered(Vec<u64>);

impl super::Mappable for Scattered {
    fn backing(&self, offset: u64, _: u64) -> Result<super::MapBacking<'_>, Errno> {
        let page = self.0.get((offset / PAGE) as usize).ok_or(Errno::ENXIO)?;
        Ok(super::MapBacking::Memory {
            offset: *page,
            len: PAGE,
        })
    }
    fn map_identity(&self) -> (u64, u64, Vec<u8>) {
        (1, 3, b"/scattered".to_vec())
    }
}

#[test]
fn private_files_in_pieces_are_written_anywhere() {
    let (memory, guest) = guest();
    let mut pages: Vec<u64> = (0..4).map(|_| memory.allocate(PAGE).unwrap()).collect();
    pages.reverse();
    for (number, &page) in pages.iter().enumerate() {
        memory.write_at(page, &[number as u8; 8]);
    }
    let file = Arc::new(Scattered(pages));
    let request = MmapRequest {
        file: Some((file, 0)),
        flags: MAP_PRIVATE,
        ..MmapRequest::anonymous(0, 6 * PAGE, RW, 0)
    };
    let addr = guest.mm.mmap(&request).unwrap();
    guest.mm.write(addr + 3 * PAGE, b"last").unwrap();
    assert_eq!(guest.load(addr + 3 * PAGE, 6), Ok(b"last\x03\x03".to_vec()));
    assert_eq!(guest.load(addr + PAGE, 2), Ok(vec![1, 1]));
    assert_eq!(guest.store(addr + 4 * PAGE, b"x"), Err(libc::SIGBUS));
}
