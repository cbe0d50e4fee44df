//! Changed, shortened and lengthened bytes stay closed, and every refusal looks the same.

use keyferry_envelope::{OpenError, Sealed};

use crate::fixture::{CONTEXT, kek, open, other_kek, sealed};

/// `sealed()` with one of its two layers changed.
fn changed(change: impl Fn(&mut Vec<u8>)) -> [Sealed; 2] {
    let (mut in_envelope, mut in_dek) = (sealed(), sealed());
    change(&mut in_envelope.envelope);
    change(&mut in_dek.wrapped_dek);
    [in_envelope, in_dek]
}

/// The refusal, which must be the only one there is.
fn refusal(sealed: &Sealed) -> OpenError {
    let refusal = open(&kek(), &CONTEXT, sealed).expect_err("stays closed");
    let reference = open(&other_kek(), &CONTEXT, sealed).expect_err("wrong KEK");
    assert_eq!(refusal, reference);
    assert_eq!(refusal.to_string(), "the envelope does not open in this context");
    assert_eq!(format!("{refusal:?}"), format!("{reference:?}"));
    refusal
}

#[test]
fn every_flipped_bit_keeps_it_closed() {
    let longest = sealed().envelope.len().max(sealed().wrapped_dek.len());
    for position in 0..longest {
        for bit in 0..8 {
            let flip = |bytes: &mut Vec<u8>| {
                if let Some(byte) = bytes.get_mut(position) {
                    *byte ^= 1 << bit;
                }
            };
            for tampered in changed(flip).into_iter().filter(|tampered| *tampered != sealed()) {
                refusal(&tampered);
            }
        }
    }
}

#[test]
fn every_truncation_keeps_it_closed() {
    let longest = sealed().envelope.len().max(sealed().wrapped_dek.len());
    for len in 0..longest {
        for tampered in
            changed(|bytes| bytes.truncate(len)).into_iter().filter(|tampered| *tampered != sealed())
        {
            refusal(&tampered);
        }
        for tampered in changed(|bytes| drop(bytes.drain(..bytes.len().min(len + 1)))) {
            refusal(&tampered);
        }
    }
}

#[test]
fn added_bytes_keep_it_closed() {
    for added in [&[0][..], &[0xff], &[0xf6], b"padding", &[0; 64], &[0; 9000]] {
        for tampered in changed(|bytes| bytes.extend_from_slice(added)) {
            refusal(&tampered);
        }
        for tampered in changed(|bytes| drop(bytes.splice(0..0, added.iter().copied()))) {
            refusal(&tampered);
        }
    }
}

#[test]
fn a_doubled_or_empty_layer_keeps_it_closed() {
    for tampered in changed(|bytes| bytes.extend(bytes.clone())) {
        refusal(&tampered);
    }
    for tampered in changed(Vec::clear) {
        refusal(&tampered);
    }
}
