//! Makes the only calls of Diffie-Hellman in the workspace. It must never keep a private key: one is loaded from its
//! bytes for each call, so that no object of the library's holds a copy between two calls.

#[cfg(test)]
mod tests;

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey, X25519};
use keyferry_secretmem::scrubbed;
use subtle::ConstantTimeEq;

use crate::error::CryptoFailure;
use crate::secret::SecretBytes;

/// Bytes of a private key and of a shared secret, on either curve.
pub(crate) const SCALAR_LEN: usize = 32;

/// The curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    /// NIST P-256 (SEC 1): public keys as uncompressed points, private keys as big-endian numbers below the order.
    P256,
    /// Curve25519 (RFC 7748): public keys and private keys are 32 bytes, every one of them is accepted.
    X25519,
}

/// The order of P-256, big-endian.
const P256_ORDER: [u8; SCALAR_LEN] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

impl Curve {
    /// Bytes of a public key.
    pub(crate) const fn public_len(self) -> usize {
        match self {
            Self::P256 => 65,
            Self::X25519 => 32,
        }
    }

    /// Whether 32 bytes are a private key. The time depends on the bytes, by no more than whether the first four of a
    /// candidate on P-256 are all ff: those are thrown away.
    pub(crate) fn is_scalar(self, bytes: &[u8]) -> bool {
        bytes.len() == SCALAR_LEN
            && match self {
                Self::P256 => bytes < &P256_ORDER[..] && bytes.iter().fold(0, |all, byte| all | byte) != 0,
                Self::X25519 => true,
            }
    }

    /// Whether `bytes` have the one encoding of a public key that is accepted. The library reads more than that:
    /// compressed points, and whole certificates' key structures.
    fn is_encoded(self, bytes: &[u8]) -> bool {
        bytes.len() == self.public_len() && (self == Self::X25519 || bytes[0] == 0x04)
    }

    fn load(self, scalar: &SecretBytes) -> Result<PrivateKey, CryptoFailure> {
        let algorithm = match self {
            Self::P256 => &ECDH_P256,
            Self::X25519 => &X25519,
        };
        PrivateKey::from_private_key(algorithm, scalar.expose()).map_err(|_| CryptoFailure)
    }
}

/// The public key that belongs to `scalar`.
pub(crate) fn public_key(curve: Curve, scalar: &SecretBytes) -> Result<Vec<u8>, CryptoFailure> {
    let public = scrubbed(|| curve.load(scalar)?.compute_public_key().map_err(|_| CryptoFailure))?;
    Ok(public.as_ref().to_vec())
}

/// Diffie-Hellman: X25519 (RFC 7748 §6.1), or the x-coordinate on P-256 (SEC 1 §3.3.1).
///
/// Fails if `public` is not a public key in the one accepted encoding, is not on the curve, or is of a low order on
/// Curve25519, which would make the result the same for every private key: all zeros.
pub(crate) fn agree(curve: Curve, scalar: &SecretBytes, public: &[u8]) -> Result<SecretBytes, CryptoFailure> {
    if !curve.is_encoded(public) {
        return Err(CryptoFailure);
    }
    let shared = scrubbed(|| {
        let private = curve.load(scalar)?;
        let peer = UnparsedPublicKey::new(private.algorithm(), public);
        agreement::agree(&private, peer, CryptoFailure, |shared| {
            SecretBytes::try_init(SCALAR_LEN, |copy| {
                copy.copy_from_slice(shared.get(..SCALAR_LEN).ok_or(CryptoFailure)?);
                Ok(())
            })
        })
    })?;
    // aws-lc refuses this too; RFC 9180 §7.1.4 makes it our own duty. On P-256 zero is the coordinate of a good point, and
    // what has to be refused, the point at infinity, has none.
    if curve == Curve::X25519 && bool::from(shared.expose().ct_eq(&[0; SCALAR_LEN])) {
        return Err(CryptoFailure);
    }
    Ok(shared)
}
