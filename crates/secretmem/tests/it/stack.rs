//! What an operation left on the stack is overwritten.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use keyferry_secretmem::scrubbed;

/// An operation that leaves its argument, doubled so that only the result of work is looked for, deep in its frames.
#[inline(never)]
fn untidy(seed: u8, depth: usize) -> u8 {
    let local = black_box([seed.wrapping_mul(2); 200]);
    if depth == 0 { local[100] } else { untidy(seed, depth - 1) ^ black_box(local)[3] }
}

/// The longest run of `byte` below this frame.
#[inline(never)]
fn run_below(byte: u8) -> usize {
    let here = 0_u8;
    let top = (&raw const here).addr();
    let mut bytes = vec![0; 48 * 1024];
    let memory = File::open("/proc/self/mem").expect("proc");
    memory.read_exact_at(&mut bytes, (top - 48 * 1024) as u64).expect("the stack is readable");
    bytes.chunk_by(|a, b| a == b).filter(|run| run[0] == byte).map(<[u8]>::len).max().unwrap_or(0)
}

#[test]
fn an_operation_leaves_nothing() {
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(|| {
            black_box(untidy(0x2d, 8));
            assert!(run_below(0x5a) >= 200, "untidy as it is, it leaves something");
            black_box(scrubbed(|| untidy(0x31, 8)));
            assert_eq!(run_below(0x62) / 16, 0);
        })
        .expect("a thread")
        .join()
        .expect("no panic");
}

#[test]
fn an_operation_that_panics_leaves_nothing() {
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(|| {
            let panicked = std::panic::catch_unwind(|| {
                scrubbed(|| {
                    black_box(untidy(0x33, 8));
                    panic!("on purpose");
                })
            });
            assert!(panicked.is_err());
            assert_eq!(run_below(0x66) / 16, 0);
        })
        .expect("a thread")
        .join()
        .expect("no panic");
}

#[test]
fn the_result_comes_out() {
    assert_eq!(scrubbed(|| vec![1, 2, 3]), [1, 2, 3]);
}
