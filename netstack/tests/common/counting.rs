//! An allocator that counts, by thread, so that tests in parallel do not see each other's allocations.

#![allow(unsafe_code)] // an allocator is unsafe to implement

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a thread has allocated so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls that allocated or grew something.
    pub(crate) allocations: u64,
    /// Bytes allocated less bytes freed.
    #[allow(dead_code, reason = "each test binary uses its own part")]
    pub(crate) bytes: i64,
}

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts { allocations: 0, bytes: 0 }) };
}

/// The counts of this thread.
pub(crate) fn counts() -> Counts {
    COUNTS.get()
}

/// Allocations of this thread while `f` runs.
#[allow(dead_code, reason = "each test binary uses its own part")]
pub(crate) fn allocations_in(f: impl FnOnce()) -> u64 {
    let before = counts().allocations;
    f();
    counts().allocations - before
}

fn note(allocations: u64, bytes: i64) {
    // A thread that is ending has no counts any more.
    let _ = COUNTS.try_with(|cell| {
        let old = cell.get();
        cell.set(Counts {
            allocations: old.allocations + allocations,
            bytes: old.bytes + bytes,
        });
    });
}

struct Counting;

// SAFETY: every call is passed on to `System` with its arguments unchanged, so `System` keeps the contract; the
// counting beside it does not allocate (the thread-local cell is initialised at compile time).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        // SAFETY: `ptr` came from `System` with this layout, as everything does here.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(1, new_size as i64 - layout.size() as i64);
        // SAFETY: as for `dealloc`; the caller keeps `realloc`'s contract for `new_size`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
