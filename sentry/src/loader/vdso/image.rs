//! The vDSO as an ELF shared object of one page, written by hand: two program headers, a dynamic
//! section, symbols, and the code.

use object::elf;

use super::code;

/// Where the code begins in the image.
pub(super) const CODE_AT: usize = 0x800;
/// Bytes of the image.
pub(super) const LEN: usize = 4096;

const HEADER: usize = 64;
const SEGMENT: usize = 56;
const SYMBOL: usize = 24;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    image[at..at + bytes.len()].copy_from_slice(bytes);
    at + bytes.len()
}

fn put_words(image: &mut [u8], at: usize, words: &[u64]) -> usize {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    put(image, at, &bytes)
}

/// The image.
pub(super) fn build() -> Vec<u8> {
    let mut image = vec![0; LEN];
    let functions = code::functions();
    put(&mut image, CODE_AT, code::bytes());

    // Symbols after the headers: the empty one, then the functions; their names follow.
    let symbols_at = HEADER + 2 * SEGMENT;
    let strings_at = symbols_at + (functions.len() + 1) * SYMBOL;
    let mut strings = vec![0];
    for (index, (name, offset)) in functions.iter().enumerate() {
        let at = symbols_at + (index + 1) * SYMBOL;
        put(&mut image, at, &(strings.len() as u32).to_le_bytes());
        // st_info: a global function; st_shndx: any defined section.
        put(&mut image, at + 4, &[0x12, 0, 1, 0]);
        put_words(&mut image, at + 8, &[CODE_AT as u64 + offset, 1]);
        strings.extend(name.bytes().chain([0]));
    }
    let soname = strings.len();
    strings.extend(b"linux-vdso.so.1\0");
    let end = put(&mut image, strings_at, &strings);

    // A hash table of one bucket, in which each symbol leads to the next.
    let hash_at = end.next_multiple_of(8);
    let count = functions.len() as u32 + 1;
    let mut hash = vec![1, count, 1, 0];
    hash.extend((2..=count).map(|next| if next == count { 0 } else { next }));
    let bytes: Vec<u8> = hash.iter().flat_map(|word| word.to_le_bytes()).collect();
    let end = put(&mut image, hash_at, &bytes);

    let dynamic_at = end.next_multiple_of(8);
    let dynamic = [
        [elf::DT_HASH as u64, hash_at as u64],
        [elf::DT_STRTAB as u64, strings_at as u64],
        [elf::DT_SYMTAB as u64, symbols_at as u64],
        [elf::DT_STRSZ as u64, strings.len() as u64],
        [elf::DT_SYMENT as u64, SYMBOL as u64],
        [elf::DT_SONAME as u64, soname as u64],
        [elf::DT_NULL as u64, 0],
    ];
    let end = put_words(&mut image, dynamic_at, dynamic.as_flattened());
    assert!(end <= CODE_AT, "the tables of the vDSO run into its code");

    put_headers(&mut image, dynamic_at as u64, (end - dynamic_at) as u64);
    image
}

fn put_headers(image: &mut [u8], dynamic_at: u64, dynamic_len: u64) {
    // ELF, 64 bit, little-endian, version 1.
    put(image, 0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    let kind = [elf::ET_DYN, elf::EM_X86_64, 1, 0];
    let bytes: Vec<u8> = kind.iter().flat_map(|half| half.to_le_bytes()).collect();
    put(image, 16, &bytes);
    put_words(image, 24, &[0, HEADER as u64]);
    let sizes = [HEADER, SEGMENT, 2].map(|size| size as u16);
    let bytes: Vec<u8> = sizes.iter().flat_map(|half| half.to_le_bytes()).collect();
    put(image, 52, &bytes);

    let segment = |kind: u32, flags: u32| u64::from(kind) | u64::from(flags) << 32;
    let len = LEN as u64;
    let at = put_words(
        image,
        HEADER,
        &[
            segment(elf::PT_LOAD, elf::PF_R | elf::PF_X),
            0,
            0,
            0,
            len,
            len,
            4096,
        ],
    );
    put_words(
        image,
        at,
        &[
            segment(elf::PT_DYNAMIC, elf::PF_R),
            dynamic_at,
            dynamic_at,
            dynamic_at,
            dynamic_len,
            dynamic_len,
            8,
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::Object;
    use object::read::elf::ElfFile64;

    #[test]
    fn an_independent_reader_finds_the_functions() {
        let image = build();
        let file = ElfFile64::<object::LittleEndian>::parse(&*image).unwrap();
        assert_eq!(file.kind(), object::ObjectKind::Dynamic);
        // Without sections the reader goes by the headers alone: the segments are what is loaded.
        assert_eq!(file.elf_program_headers().len(), 2);
        let (name, offset) = code::functions()[0];
        let at = image
            .windows(name.len() + 1)
            .position(|w| w[..name.len()] == *name.as_bytes() && w[name.len()] == 0);
        assert!(at.is_some() && offset == 0);
        assert_eq!(image[CODE_AT], code::bytes()[0]);
    }
}
