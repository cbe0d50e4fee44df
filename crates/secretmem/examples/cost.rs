//! What each part costs, in nanoseconds: `cargo run --release -p keyferry-secretmem --example cost`.
#![expect(unsafe_code, reason = "calls an allocator beside the one of the process, to compare the two")]
#![expect(clippy::print_stdout, reason = "prints what it measured")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::thread;
use std::time::Instant;

use keyferry_secretmem::{LockedBytes, WipingHeap, backend, scrubbed};

/// A call, in the middle one of several rounds.
fn nanoseconds(mut operation: impl FnMut()) -> f64 {
    const CALLS: u32 = 20_000;
    let round = |operation: &mut dyn FnMut()| {
        let begun = Instant::now();
        (0..CALLS).for_each(|_| operation());
        begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    let mut rounds: Vec<f64> = (0..31).map(|_| round(&mut operation)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn main() {
    println!("pool ({}): take, fill, wipe, give back", backend().as_str());
    for len in [32, 64, 200, 576, 4096] {
        let source = vec![7; len];
        let alone = nanoseconds(|| drop(black_box(LockedBytes::copy_of(&source))));
        let four = thread::scope(|scope| {
            let work = || nanoseconds(|| drop(black_box(LockedBytes::copy_of(&source))));
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|one| one.join().expect("no panic")).fold(0.0, f64::max)
        });
        println!("  {len:>5} bytes: {alone:>6.0} ns, with four threads at it {four:>6.0} ns");
    }
    println!(
        "stack: {:.0} ns for each scrubbed call",
        nanoseconds(|| scrubbed(|| {
            black_box(1);
        }))
    );
    println!("heap: allocate and free");
    for len in [32, 256, 4096, 65_536, 1 << 20] {
        let layout = Layout::from_size_align(len, 16).expect("a layout");
        let with = |heap: &dyn GlobalAlloc| {
            nanoseconds(|| {
                // SAFETY: the layout is not empty; the block is freed with the layout it was made with.
                unsafe {
                    let block = heap.alloc(layout);
                    black_box(block).write(1);
                    heap.dealloc(block, layout);
                }
            })
        };
        println!("  {len:>7} bytes: {:>8.0} ns as it is, {:>8.0} ns wiped", with(&System), with(&WipingHeap));
    }
}
