//! Random sequences of calls and accesses against a model that knows only pages: what each holds, and
//! how it may be touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use libc::{MAP_FIXED, MREMAP_FIXED, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE};
use proptest::prelude::*;

use super::testing::{Guest, HostFile};
use super::{MemoryFile, MmapRequest, PAGE_SIZE, Purpose};

const RW: i32 = PROT_READ | PROT_WRITE;
const BASE: u64 = 0x2000_0000_0000 - 8 * PAGE_SIZE;
const PAGES: u64 = 64;
const FILE_PAGES: u64 = 24;

/// A page of the model: first byte and protection.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Page {
    byte: u8,
    prot: i32,
    /// The page of the file that an untouched page shows again after MADV_DONTNEED.
    file: Option<u8>,
}

#[derive(Clone, Debug)]
enum Op {
    Map {
        page: u64,
        len: u64,
        prot: i32,
    },
    MapFile {
        page: u64,
        len: u64,
        at: u64,
    },
    Unmap {
        page: u64,
        len: u64,
    },
    Protect {
        page: u64,
        len: u64,
        prot: i32,
    },
    Move {
        from: u64,
        to: u64,
        len: u64,
    },
    Discard {
        page: u64,
        len: u64,
    },
    Store {
        page: u64,
        byte: u8,
        by_sentry: bool,
    },
    Load {
        page: u64,
        by_sentry: bool,
    },
    Fork,
    Switch(usize),
    Exit(usize),
}

fn prot() -> impl Strategy<Value = i32> {
    prop_oneof![4 => Just(RW), 1 => Just(PROT_READ), 1 => Just(0)]
}

fn op() -> impl Strategy<Value = Op> {
    let page = 0..PAGES;
    let len = prop_oneof![3 => 1u64..8, 1 => 8u64..40];
    prop_oneof![
        2 => (page.clone(), len.clone(), prot()).prop_map(|(page, len, prot)| Op::Map { page, len, prot }),
        1 => (page.clone(), 1u64..8, 0..FILE_PAGES - 8)
            .prop_map(|(page, len, at)| Op::MapFile { page, len, at }),
        1 => (page.clone(), len.clone()).prop_map(|(page, len)| Op::Unmap { page, len }),
        2 => (page.clone(), len.clone(), prot())
            .prop_map(|(page, len, prot)| Op::Protect { page, len, prot }),
        1 => (page.clone(), page.clone(), 1u64..8).prop_map(|(from, to, len)| Op::Move { from, to, len }),
        1 => (page.clone(), len).prop_map(|(page, len)| Op::Discard { page, len }),
        8 => (page.clone(), 1u8.., any::<bool>())
            .prop_map(|(page, byte, by_sentry)| Op::Store { page, byte, by_sentry }),
        6 => (page, any::<bool>()).prop_map(|(page, by_sentry)| Op::Load { page, by_sentry }),
        1 => Just(Op::Fork),
        1 => (0usize..4).prop_map(Op::Switch),
        1 => (0usize..4).prop_map(Op::Exit),
    ]
}

/// A guest and what its pages ought to be.
struct Process {
    guest: Guest,
    pages: BTreeMap<u64, Page>,
}

fn at(page: u64) -> u64 {
    BASE + page * PAGE_SIZE
}

impl Process {
    fn range(&self, page: u64, len: u64) -> std::ops::Range<u64> {
        page..(page + len).min(PAGES)
    }

    fn map(&mut self, page: u64, len: u64, prot: i32, file: Option<(&Arc<HostFile>, u64)>) {
        let range = self.range(page, len);
        let request = MmapRequest {
            file: file.map(|(file, at)| (file.clone() as Arc<dyn super::Mappable>, at * PAGE_SIZE)),
            purpose: Purpose::Plain,
            ..MmapRequest::anonymous(
                at(page),
                (range.end - range.start) * PAGE_SIZE,
                prot,
                MAP_FIXED,
            )
        };
        assert_eq!(self.guest.mm.mmap(&request), Ok(at(page)));
        for (index, page) in range.enumerate() {
            let file = file.map(|(_, at)| (at + index as u64 + 1) as u8);
            let byte = file.unwrap_or(0);
            self.pages.insert(page, Page { byte, prot, file });
        }
    }

    fn protect(&mut self, page: u64, len: u64, prot: i32) {
        let range = self.range(page, len);
        let bytes = (range.end - range.start) * PAGE_SIZE;
        let mut complete = true;
        for page in range {
            // What comes before a hole is changed.
            match self.pages.get_mut(&page) {
                Some(known) if complete => known.prot = prot,
                _ => complete = false,
            }
        }
        let result = self.guest.mm.mprotect(at(page), bytes, prot);
        assert_eq!(result.is_ok(), complete);
    }

    fn move_pages(&mut self, from: u64, to: u64, len: u64) {
        let (source, target) = (self.range(from, len), self.range(to, len));
        let len = (source.end - source.start).min(target.end - target.start);
        let overlap = from < to + len && to < from + len;
        let bytes = len * PAGE_SIZE;
        let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
        let moved = self.guest.mm.mremap(at(from), bytes, bytes, flags, at(to));
        let whole = (from..from + len).all(|page| self.pages.contains_key(&page));
        if overlap || !whole {
            assert!(moved.is_err());
        } else if moved.is_ok() {
            for index in 0..len {
                let page = self.pages.remove(&(from + index)).unwrap();
                self.pages.insert(to + index, page);
            }
        }
    }

    fn discard(&mut self, page: u64, len: u64) {
        let range = self.range(page, len);
        let bytes = (range.end - range.start) * PAGE_SIZE;
        let _ = self.guest.mm.madvise(at(page), bytes, libc::MADV_DONTNEED);
        for page in range {
            if let Some(page) = self.pages.get_mut(&page) {
                page.byte = page.file.unwrap_or(0);
            }
        }
    }

    fn store(&mut self, page: u64, byte: u8, by_sentry: bool) {
        let known = self
            .pages
            .get_mut(&page)
            .filter(|page| page.prot & PROT_WRITE != 0);
        let ok = match by_sentry {
            true => self.guest.mm.write(at(page), &[byte]).is_ok(),
            false => self.guest.store(at(page), &[byte]).is_ok(),
        };
        assert_eq!(ok, known.is_some(), "store to page {page}");
        if let Some(page) = known {
            page.byte = byte;
        }
    }

    fn load(&self, page: u64, by_sentry: bool) {
        let known = self.pages.get(&page).filter(|page| page.prot != 0);
        let got = match by_sentry {
            true => self.guest.mm.read_val::<u8>(at(page)).ok(),
            false => self.guest.load(at(page), 1).ok().map(|bytes| bytes[0]),
        };
        assert_eq!(got, known.map(|page| page.byte), "load from page {page}");
    }
}

fn run(ops: Vec<Op>) {
    let memory = MemoryFile::new().unwrap();
    let contents: Vec<u8> = (0..FILE_PAGES)
        .flat_map(|page| [(page + 1) as u8; PAGE_SIZE as usize])
        .collect();
    let file = HostFile::with(&contents);
    let mut all = vec![Process {
        guest: Guest::new(&memory),
        pages: BTreeMap::new(),
    }];
    let mut now = 0;
    for op in ops {
        let count = all.len();
        let process = &mut all[now];
        match op {
            Op::Map { page, len, prot } => process.map(page, len, prot, None),
            Op::MapFile { page, len, at } => {
                process.map(page, len, RW, Some((&file, at)));
            }
            Op::Unmap { page, len } => {
                let range = process.range(page, len);
                let bytes = (range.end - range.start) * PAGE_SIZE;
                process.guest.mm.munmap(at(page), bytes).unwrap();
                for page in range {
                    process.pages.remove(&page);
                }
            }
            Op::Protect { page, len, prot } => process.protect(page, len, prot),
            Op::Move { from, to, len } => process.move_pages(from, to, len),
            Op::Discard { page, len } => process.discard(page, len),
            Op::Store {
                page,
                byte,
                by_sentry,
            } => process.store(page, byte, by_sentry),
            Op::Load { page, by_sentry } => process.load(page, by_sentry),
            Op::Fork if count < 4 => {
                let child = Process {
                    guest: process.guest.fork(),
                    pages: process.pages.clone(),
                };
                all.push(child);
            }
            Op::Switch(to) => now = to % count,
            Op::Exit(which) if count > 1 => {
                all.remove(which % count);
                now %= all.len();
            }
            Op::Fork | Op::Exit(_) => {}
        }
    }
    for process in &all {
        (0..PAGES).for_each(|page| process.load(page, page % 2 == 0));
        let size = process.pages.len() as u64 * PAGE_SIZE;
        assert_eq!(process.guest.mm.usage().size, size);
    }
    drop(all);
    assert_eq!(memory.allocated(), 0);
    memory.flush();
    assert_eq!(memory.resident(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn guests_see_what_a_simple_model_says(ops in prop::collection::vec(op(), 1..120)) {
        run(ops);
    }
}
