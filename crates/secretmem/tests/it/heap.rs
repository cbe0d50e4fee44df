//! What is freed is overwritten.

use std::fs::File;
use std::os::unix::fs::FileExt;

use keyferry_secretmem::WipingHeap;

#[global_allocator]
static HEAP: WipingHeap = WipingHeap;

/// How often `needle` still lies in the heap blocks that were at these addresses.
fn left(addresses: &[(usize, usize)], needle: &[u8]) -> usize {
    let memory = File::open("/proc/self/mem").expect("proc");
    addresses
        .iter()
        .filter(|&&(address, len)| {
            let mut bytes = vec![0; len];
            memory.read_exact_at(&mut bytes, address as u64).is_ok()
                && bytes.windows(needle.len()).any(|window| window == needle)
        })
        .count()
}

#[test]
fn freed_and_moved_blocks_hold_nothing() {
    let needle: Vec<u8> = (0..24_u8).map(|n| n.wrapping_mul(7) ^ 0xa5).collect();
    let mut addresses = Vec::new();
    for len in [32, 100, 1_000, 10_000, 100_000] {
        let mut block = Vec::with_capacity(len);
        block.extend_from_slice(&needle);
        addresses.push((block.as_ptr().addr(), len));
        // Growing leaves the old place behind.
        block.reserve_exact(len * 4);
        addresses.push((block.as_ptr().addr(), len));
        block.shrink_to_fit();
        addresses.push((block.as_ptr().addr(), needle.len()));
    }
    assert_eq!(left(&addresses, &needle), 0);
    let kept = needle.clone();
    assert_eq!(left(&[(kept.as_ptr().addr(), kept.len())], &needle), 1, "so the search finds what is there");
}

#[test]
fn zeroed_and_aligned_blocks_are_what_they_should_be() {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let page = Box::new(Page([3; 4096]));
    assert!(page.0.as_ptr().addr().is_multiple_of(4096) && page.0 == [3; 4096]);
    drop(page);
    assert!(vec![0_u8; 100_000].iter().all(|&byte| byte == 0));
    let mut grown: Vec<u32> = (0..10).collect();
    grown.extend(10..10_000);
    assert!(grown.iter().copied().eq(0..10_000));
}

#[cfg(target_env = "gnu")]
#[test]
fn what_lay_between_blocks_that_stay_is_given_back() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("proc");
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
    };
    let mut blocks: Vec<Vec<u8>> = (0..64 * 1024).map(|n| vec![n as u8 | 1; 1024]).collect();
    let full = resident();
    // Every hundredth stays, so that the heap as a whole cannot shrink.
    blocks.retain({
        let mut at = 0;
        move |_| {
            at += 1;
            at % 100 == 0
        }
    });
    keyferry_secretmem::give_back_free_pages();
    let left = resident();
    assert!(full.saturating_sub(left) > 32 * 1024 * 1024, "{full} before, {left} after");
    assert!(blocks.iter().all(|block| block[0] & 1 == 1));
}
