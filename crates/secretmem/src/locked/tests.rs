use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::thread;

use super::*;
use crate::pool::probe;
use crate::region::{Backend, REGION};

/// A pool of its own that lives as long as the tests.
fn pool(backend: Backend, ceiling: usize) -> &'static Pool {
    probe(backend).expect("this kernel has it");
    Box::leak(Box::new(Pool::new(backend, ceiling)))
}

fn secret(pool: &'static Pool, bytes: &[u8]) -> LockedBytes {
    let mut secret = LockedBytes::zeros(bytes.len(), pool);
    secret.bytes_mut().copy_from_slice(bytes);
    secret
}

/// What another process would read at the secret's address.
fn seen_from_outside(secret: &LockedBytes) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; secret.len()];
    let memory = File::open("/proc/self/mem")?;
    memory.read_exact_at(&mut bytes, secret.expose().as_ptr().addr() as u64)?;
    Ok(bytes)
}

/// The kinds of locked memory that this kernel gives; one at least.
fn kinds() -> Vec<Backend> {
    let works = |backend: &Backend| match probe(*backend) {
        Ok(()) => true,
        Err(error) => {
            println!("not tested: {}: {error}", backend.as_str());
            false
        }
    };
    let kinds: Vec<Backend> = [Backend::MemfdSecret, Backend::Locked].into_iter().filter(works).collect();
    assert!(!kinds.is_empty());
    kinds
}

fn has_memfd_secret() -> bool {
    kinds().contains(&Backend::MemfdSecret)
}

#[test]
fn a_secret_keeps_its_bytes_whatever_its_neighbours_do() {
    for backend in kinds() {
        let pool = pool(backend, 1 << 20);
        let held: Vec<_> = (0..=600_usize).map(|len| secret(pool, &vec![len as u8; len])).collect();
        for (len, kept) in held.iter().enumerate() {
            assert_eq!(kept.expose(), vec![len as u8; len]);
        }
        let (even, odd): (Vec<_>, Vec<_>) = held.into_iter().partition(|kept| kept.len() % 2 == 0);
        drop(odd);
        let _again: Vec<_> = (0..300).map(|len| secret(pool, &vec![0xee; len])).collect();
        for kept in even {
            assert_eq!(kept.expose(), vec![kept.len() as u8; kept.len()]);
        }
    }
}

#[test]
fn nobody_reads_a_memfd_secret_from_outside() {
    if !has_memfd_secret() {
        return;
    }
    let hidden = secret(pool(Backend::MemfdSecret, 1 << 20), b"nobody can read this");
    assert_eq!(seen_from_outside(&hidden).map_err(|error| error.raw_os_error()), Err(Some(libc::EIO)));
    let locked = secret(pool(Backend::Locked, 1 << 20), b"root can read this");
    assert_eq!(
        seen_from_outside(&locked).expect("root may"),
        locked.expose(),
        "so the test above means something"
    );
}

#[test]
fn a_freed_slot_is_zero() {
    let pool = pool(Backend::Locked, 1 << 20);
    for len in [1, 32, 64, 65, 512, 576, 1024, 4096] {
        let freed = secret(pool, &vec![0x5a; len]);
        let (address, mut bytes) = (freed.expose().as_ptr().addr() as u64, vec![1; len]);
        drop(freed);
        File::open("/proc/self/mem").expect("proc").read_exact_at(&mut bytes, address).expect("readable");
        assert_eq!(bytes, vec![0; len]);
    }
}

#[test]
fn the_pages_are_locked_in_no_dump_and_between_guards() {
    for backend in kinds() {
        let flags = if backend == Backend::Locked { ["lo", "dd", "wf"] } else { ["lo", "dd", "dc"] };
        let held = secret(pool(backend, 1 << 20), b"where is this");
        let address = held.expose().as_ptr().addr();
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("proc");
        let mut range = (0, 0);
        let mut ranges = Vec::new();
        let mut found = String::new();
        for line in smaps.lines() {
            let bounds = line.split(' ').next().and_then(|bounds| bounds.split_once('-'));
            if let Some((Ok(from), Ok(to))) =
                bounds.map(|(from, to)| (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)))
            {
                range = (from, to);
                ranges.push((from, to, line.split(' ').nth(1).unwrap_or_default().to_owned()));
            }
            if line.starts_with("VmFlags:") && (range.0..range.1).contains(&address) {
                line.clone_into(&mut found);
            }
        }
        for flag in flags {
            assert!(found.split(' ').any(|one| one == flag), "{backend:?}: {flag} is not in {found}");
        }
        // Regions may lie side by side, so the guard of one may be joined to the guard of the next.
        let access = |at: usize| {
            ranges.iter().find(|(from, to, _)| (*from..*to).contains(&at)).map(|(.., how)| how.as_str())
        };
        let start = address & !4095;
        assert_eq!(access(start - 1), Some("---p"), "{backend:?}: before");
        assert_eq!(access(start + REGION), Some("---p"), "{backend:?}: behind");
    }
}

#[test]
fn without_room_a_secret_lies_on_the_heap_and_is_counted() {
    let pool = pool(Backend::Locked, 2 * REGION);
    let held: Vec<_> = (0..REGION / 64 * 2).map(|n| secret(pool, &[n as u8; 64])).collect();
    assert_eq!((pool.report().overflowed, pool.report().in_use), (0, REGION / 64 * 2));
    let one_more = secret(pool, &[7; 64]);
    assert_eq!((one_more.expose(), pool.report().overflowed), (&[7; 64][..], 1));
    drop(held);
    let _room_again = secret(pool, &[8; 64]);
    assert_eq!((pool.report().overflowed, pool.report().in_use), (1, 1));
    let long = secret(pool, &[9; 5000]);
    assert_eq!((long.expose(), pool.report().overflowed), (&[9; 5000][..], 2));
}

#[test]
fn a_longer_slot_serves_when_there_is_no_room_for_more_of_the_right_size() {
    let pool = pool(Backend::Locked, 2 * REGION);
    let long = secret(pool, &[1; 4096]);
    let short: Vec<_> = (0..=REGION / 64).map(|_| secret(pool, &[2; 64])).collect();
    assert_eq!((pool.report().overflowed, pool.report().locked), (0, 2 * REGION));
    assert!(short.iter().all(|kept| kept.expose() == [2; 64]) && long.expose() == [1; 4096]);
}

#[test]
fn without_locked_memory_everything_works_and_is_counted() {
    let pool = pool(Backend::Heap, 1 << 20);
    let kept = secret(pool, b"on the heap");
    assert_eq!((kept.expose(), pool.report().overflowed, pool.report().locked), (&b"on the heap"[..], 1, 0));
    assert!(secret(pool, b"").is_empty());
}

#[test]
fn a_filler_that_fails_or_panics_leaves_nothing() {
    let before = own().report().in_use;
    assert_eq!(
        LockedBytes::try_new(4096, |bytes| {
            bytes.fill(1);
            Err("no")
        })
        .err(),
        Some("no")
    );
    let panicked = std::panic::catch_unwind(|| LockedBytes::new(4096, |_| panic!("on purpose")));
    assert!(panicked.is_err());
    assert_eq!(own().report().in_use, before);
}

#[test]
fn threads_never_share_a_slot() {
    for backend in kinds() {
        let pool = pool(backend, 512 * 1024);
        thread::scope(|scope| {
            for thread in 0..16_u8 {
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for round in 0..2_000_usize {
                        let fill = thread.wrapping_mul(16).wrapping_add(round as u8 % 16);
                        kept.push((fill, secret(pool, &vec![fill; 1 + round * 37 % 700])));
                        if round % 3 == 0 {
                            kept.swap_remove(round * 31 % kept.len());
                        }
                        if kept.len() > 40 {
                            assert!(
                                kept.drain(..20)
                                    .all(|(fill, one)| one.expose().iter().all(|&byte| byte == fill))
                            );
                        }
                    }
                    assert!(kept.iter().all(|(fill, one)| one.expose().iter().all(|byte| byte == fill)));
                });
            }
        });
        assert_eq!(pool.report().in_use, 0);
    }
}

#[test]
fn a_program_that_is_started_gets_nothing() {
    if !has_memfd_secret() {
        return;
    }
    let _held = secret(pool(Backend::MemfdSecret, 1 << 20), b"not for children");
    let child = Command::new("cat").args(["/proc/self/maps"]).output().expect("cat runs");
    assert!(!String::from_utf8_lossy(&child.stdout).contains("secretmem"));
    let mine = std::fs::read_to_string("/proc/self/maps").expect("proc");
    assert!(mine.contains("/secretmem"));
}

#[test]
fn no_descriptor_leads_to_the_pages() {
    if !has_memfd_secret() {
        return;
    }
    let _held = secret(pool(Backend::MemfdSecret, 1 << 20), b"mapped and closed");
    let open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("proc").flatten();
        let links = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().contains("secretmem")).count()
    };
    // Another test may be mapping in this moment.
    assert!((0..200).any(|_| open() == 0 || {
        thread::sleep(std::time::Duration::from_millis(1));
        false
    }));
}

#[test]
fn pages_that_nothing_lies_in_are_given_back_and_serve_other_sizes() {
    for backend in kinds() {
        let pool = pool(backend, 4 * REGION);
        let short: Vec<_> = (0..4 * REGION / 64).map(|_| secret(pool, &[1; 64])).collect();
        assert_eq!((pool.report().locked, pool.report().overflowed), (4 * REGION, 0), "{backend:?}");
        drop(short);
        assert_eq!((pool.report().locked, pool.report().in_use), (REGION, 0), "one stays, {backend:?}");
        let long: Vec<_> = (0..4 * REGION / 4096).map(|_| secret(pool, &[2; 4096])).collect();
        assert_eq!((pool.report().locked, pool.report().overflowed), (4 * REGION, 0), "{backend:?}");
        assert!(long.iter().all(|kept| kept.expose() == [2; 4096]));
    }
}

#[test]
fn what_the_kernel_refused_is_asked_for_again_when_some_was_given_back() {
    let pool = pool(Backend::Locked, 4 * REGION);
    pool.kernel_refuses_now();
    let other = self::pool(Backend::Locked, 4 * REGION);
    drop((0..2 * REGION / 64).map(|_| secret(other, &[2; 64])).collect::<Vec<_>>());
    let _locked = secret(pool, &[3; 64]);
    assert_eq!(pool.report().locked, REGION);
}

#[test]
fn a_number_of_secrets_that_goes_up_and_down_by_one_maps_nothing_anew() {
    let pool = pool(Backend::Locked, 4 * REGION);
    let mut held: Vec<_> = (0..REGION / 64).map(|_| secret(pool, &[1; 64])).collect();
    for _ in 0..100 {
        held.push(secret(pool, &[2; 64]));
        assert_eq!(pool.report().locked, 2 * REGION);
        held.pop();
        assert_eq!(pool.report().locked, 2 * REGION);
    }
}

#[test]
fn what_is_too_long_for_any_slot_is_told_apart() {
    let pool = pool(Backend::Locked, REGION);
    let _long = secret(pool, &[1; 4097]);
    let _held: Vec<_> = (0..=REGION / 4096).map(|_| secret(pool, &[2; 4096])).collect();
    assert_eq!((pool.report().overflowed, pool.report().too_long), (2, 1));
}
