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

/// Runs it on a thread whose stack nobody else has used.
fn alone<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(test).expect("a thread");
    drop(thread.join().expect("no panic"));
}

#[test]
fn an_operation_leaves_nothing() {
    alone(|| {
        black_box(untidy(0x2d, 8));
        assert!(run_below(0x5a) >= 200, "untidy as it is, it leaves something");
        black_box(scrubbed(|| untidy(0x31, 8)));
        assert_eq!(run_below(0x62) / 16, 0);
    });
}

#[test]
fn an_operation_that_panics_leaves_nothing() {
    alone(|| {
        let panicked = std::panic::catch_unwind(|| {
            scrubbed(|| {
                black_box(untidy(0x33, 8));
                panic!("on purpose");
            })
        });
        assert!(panicked.is_err());
        assert_eq!(run_below(0x66) / 16, 0);
    });
}

#[test]
fn an_operation_within_another_one_leaves_nothing_when_that_one_has_ended() {
    alone(|| {
        scrubbed(|| {
            black_box(scrubbed(|| untidy(0x35, 8)));
            assert!(run_below(0x6a) >= 200, "it is left to the outer one");
        });
        assert_eq!(run_below(0x6a) / 16, 0);
        black_box(untidy(0x37, 8));
        assert!(run_below(0x6e) >= 200);
        black_box(scrubbed(|| untidy(0x39, 8)));
        assert_eq!(run_below(0x72) / 16, 0, "the next one is not taken for an inner one");
    });
}

#[test]
fn an_operation_far_below_another_one_does_not_rely_on_it() {
    #[inline(never)]
    fn at_depth(depth: usize) -> u8 {
        let frame = black_box([0_u8; 512]);
        if depth > 0 {
            return at_depth(depth - 1) ^ black_box(frame)[7];
        }
        black_box(scrubbed(|| untidy(0x3b, 8)));
        assert_eq!(run_below(0x76) / 16, 0, "it has overwritten its part by itself");
        frame[8]
    }
    alone(|| black_box(scrubbed(|| at_depth(60))));
}

#[test]
fn the_outer_operation_is_overwritten_after_an_inner_one_that_panicked() {
    alone(|| {
        let panicked = std::panic::catch_unwind(|| {
            scrubbed(|| {
                scrubbed(|| {
                    black_box(untidy(0x3d, 8));
                    panic!("on purpose");
                });
            });
        });
        assert!(panicked.is_err());
        assert_eq!(run_below(0x7a) / 16, 0);
        black_box(scrubbed(|| untidy(0x3f, 8)));
        assert_eq!(run_below(0x7e) / 16, 0, "the next one is an outermost one again");
    });
}

#[test]
fn the_result_comes_out() {
    assert_eq!(scrubbed(|| vec![1, 2, 3]), [1, 2, 3]);
}
