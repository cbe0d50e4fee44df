//! A search for a key leaves nothing of it on the stack.

use std::{collections::HashSet, fs::File, hint::black_box, os::unix::fs::FileExt};

use base64::{Engine, engine::general_purpose::STANDARD};
use keyferry_core::mask::scrub;

const DEPTH: usize = 48 * 1024;

/// Runs `operation` and answers what is below this frame afterwards.
#[inline(never)]
fn stack_after(operation: impl FnOnce()) -> Vec<u8> {
    let memory = File::open("/proc/self/mem").expect("proc");
    let mut below = vec![0; DEPTH];
    let here = 0_u8;
    let from = (&raw const here).addr() - DEPTH;
    operation();
    memory.read_exact_at(&mut below, from as u64).expect("the stack is readable");
    below
}

/// How many places have eight bytes of a key, plain or in base64.
fn left_of(key: &[u8], stack: &[u8]) -> usize {
    let encoded = STANDARD.encode(key);
    let windows: HashSet<&[u8]> = key.windows(8).chain(encoded.as_bytes().windows(8)).collect();
    stack.windows(8).filter(|window| windows.contains(window)).count()
}

#[test]
fn a_search_for_a_key_leaves_nothing_of_it_on_the_stack() {
    let search = || {
        // Not the text of the program, which is compared on the stack by whoever looks for it.
        let key: Vec<u8> = (0..54_u8).map(|n| b'a' + n.wrapping_mul(n) % 26).collect();
        let untidy = || {
            black_box(<[u8; 48]>::try_from(black_box(&key[..48])).expect("48 bytes"));
        };
        assert!(left_of(&key, &stack_after(untidy)) > 0, "what is there is found");
        let encoded = STANDARD.encode(&key);
        let text = format!("wrong: {} ({encoded})", String::from_utf8_lossy(&key));
        let below = stack_after(|| {
            assert_eq!(&*scrub(text.as_bytes(), Some(&key)), b"wrong: [redacted] ([redacted])");
        });
        assert_eq!(left_of(&key, &below), 0);
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(search).expect("a thread").join().expect("no panic");
}
