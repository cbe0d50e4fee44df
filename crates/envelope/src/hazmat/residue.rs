//! Looks at the stack below a call, to see what of a secret is left there.

use std::cell::Cell;

use super::*;
use crate::{ApiKey, Context, KekId, SystemEntropy, TenantKek, capabilities};

const PAINT: u8 = 0xb7;

/// What an operation may reach: of the 16 KiB that are overwritten, it may begin a quarter below another one's beginning.
const LEFT_TO_OTHERS: usize = 12 * 1024;

/// Paints the stack, runs `operation` on it, and answers what is then below this frame, deepest first.
#[inline(never)]
fn stack_after(operation: &dyn Fn()) -> Vec<u8> {
    const DEPTH: usize = 64 * 1024;
    #[inline(never)]
    #[expect(clippy::large_stack_arrays, reason = "the stack is what is painted")]
    fn paint() {
        std::hint::black_box([PAINT; DEPTH]);
    }
    // Before the operation, so that little runs between it and the reading.
    let memory = std::fs::File::open("/proc/self/mem").expect("proc");
    let mut below = vec![0; DEPTH / 2];
    paint();
    let here = 0_u8;
    let from = (&raw const here).addr() - below.len();
    operation();
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut below, from as u64)
        .expect("the stack is readable");
    below
}

/// How many bytes of `secret` lie in `stack` in pieces of eight and more: as they are, as HMAC pads them, and as SHA-256
/// reads them.
fn left_of(secret: &[u8], stack: &[u8]) -> usize {
    let padded = |pad: u8| secret.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
    let forms = [secret.to_vec(), padded(0x36), padded(0x5c)];
    let swapped = |form: &Vec<u8>, skip: usize| -> Vec<u8> {
        form[skip..].chunks_exact(4).flat_map(|word| word.iter().rev().copied()).collect()
    };
    let words: Vec<Vec<u8>> = forms.iter().flat_map(|form| (0..4).map(|skip| swapped(form, skip))).collect();
    let windows: std::collections::HashSet<&[u8]> =
        forms.iter().chain(&words).flat_map(|form| form.windows(8)).collect();
    stack.windows(8).filter(|window| windows.contains(window)).count()
}

/// How often the test below calls each operation.
const CALLS: usize = 3;

type Operation<'a> = (&'static str, Box<dyn Fn() + 'a>);

/// How far an operation reaches down, in bytes. It overwrites nothing meanwhile, since an operation is around it.
fn reach(operation: &dyn Fn()) -> usize {
    scrubbed(|| {
        let below = stack_after(operation);
        below.len() - below.iter().position(|&byte| byte != PAINT).expect("it was called")
    })
}

/// 32 bytes that are used as a key, 512 that are sealed, and a provider's key.
struct Secrets {
    key: Vec<u8>,
    text: Vec<u8>,
    stored: &'static [u8],
}

impl Secrets {
    fn new() -> Self {
        Self {
            key: (1..=32_u8).map(|n| n.wrapping_mul(37)).collect(),
            text: (0..512_u16).map(|n| (n.wrapping_mul(40_503) >> 7) as u8).collect(),
            stored: b"sk-example-0123456789abcdefghijklmnopqrstuvwxyz",
        }
    }

    fn left(&self, stack: &[u8]) -> [usize; 3] {
        [&self.key, &self.text, self.stored].map(|secret| left_of(secret, stack))
    }
}

/// What the library does by itself, to be read with --nocapture: it depends on the processor.
#[test]
fn what_the_library_leaves_is_told() {
    let secrets = Secrets::new();
    let (locked, locked_text) = (SecretBytes::copy_of(&secrets.key), SecretBytes::copy_of(&secrets.text));
    let sealed = aes256gcm_seal(&locked, [9; 12], b"aad", &secrets.text).expect("seals");
    let plain = |key: &[u8]| LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"));
    let nonce = || Nonce::assume_unique_for_key([9; 12]);
    let bare: [Operation<'_>; 3] = [
        (
            "open",
            Box::new(|| {
                let (bytes, tag) = sealed.split_last_chunk::<TAG_LEN>().expect("long enough");
                let _ = SecretBytes::try_init(bytes.len(), |out| {
                    plain(locked.expose()).open_separate_gather(nonce(), Aad::from(b"aad"), bytes, tag, out)
                });
            }),
        ),
        (
            "hkdf",
            Box::new(|| {
                let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &[1; 32]).extract(locked.expose());
                let _ = SecretBytes::try_init(32, |okm| {
                    prk.expand(&[&[2; 200]], OutputLen(32)).and_then(|out| out.fill(okm))
                });
            }),
        ),
        (
            "hmac",
            Box::new(|| {
                let mut context =
                    hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, locked.expose()));
                context.update(locked_text.expose());
                std::hint::black_box(context.sign());
            }),
        ),
    ];
    for (name, operation) in bare {
        operation();
        let left = secrets.left(&stack_after(&*operation));
        println!("{name} by itself: {} bytes deep, {left:?} of the secrets", reach(&*operation));
    }
}

#[test]
fn no_operation_leaves_anything_of_a_secret_on_the_stack() {
    let secrets = Secrets::new();
    let (locked, locked_text) = (SecretBytes::copy_of(&secrets.key), SecretBytes::copy_of(&secrets.text));
    let sealed = aes256gcm_seal(&locked, [9; 12], b"aad", &secrets.text).expect("seals");
    let (sealer, opener, _) = capabilities();
    let kek = TenantKek::from_secret(KekId::new("kek_1"), SecretBytes::copy_of(&secrets.key)).expect("32");
    let context = Context { tenant: "t", provider: "p", origin: "o", credential: "c", version: 1 };
    let key = ApiKey::parse(SecretBytes::copy_of(secrets.stored)).expect("a key");
    let stored = sealer.seal(&kek, &context, &key, &SystemEntropy).expect("seals");
    // For each call one that has opened nothing. They are kept: to wipe one uses the stack as well.
    let unused = [(); CALLS].map(|()| {
        TenantKek::from_secret(KekId::new("kek_1"), SecretBytes::copy_of(&secrets.key)).expect("32")
    });
    let calls = Cell::new(0);
    let next = || &unused[calls.replace(calls.get() + 1)];
    let operations: [Operation<'_>; 7] = [
        ("seal", Box::new(|| drop(aes256gcm_seal(&locked, [9; 12], b"aad", locked_text.expose())))),
        ("open", Box::new(|| drop(aes256gcm_open(&locked, [9; 12], b"aad", &sealed)))),
        ("hkdf", Box::new(|| drop(hkdf_sha256_key(&locked, &[1; 32], &[2; 200])))),
        ("pair", Box::new(|| drop(hkdf_sha256_pair(&locked, &[1; 32], &[&[2; 200]], &[&[3; 200]])))),
        (
            "hmac",
            Box::new(|| {
                std::hint::black_box(hmac_sha256(&locked, [locked_text.expose()]));
            }),
        ),
        ("a stored key", Box::new(|| drop(opener.open(next(), &context, &stored)))),
        ("a stored key once more", Box::new(|| drop(opener.open(&kek, &context, &stored)))),
    ];
    // The search finds what is there. So often that what runs before the search does not reach all of it.
    let untidy = || {
        std::hint::black_box([<[u8; 32]>::try_from(locked.expose()).expect("32 bytes"); 64]);
    };
    assert!(left_of(&secrets.key, &stack_after(&untidy)) > 0);
    assert_eq!(left_of(&secrets.key, &stack_after(&|| scrubbed(untidy))), 0);
    for (name, operation) in operations {
        // Once before, so that nothing is set up for the first time.
        operation();
        let below = stack_after(&*operation);
        assert_eq!(secrets.left(&below), [0; 3], "{name}");
        let deepest = below.iter().position(|&byte| byte != PAINT).expect("it was called");
        // Deepest are a few words of the call that overwrites; what runs afterwards is at the other end.
        let zeros = below[deepest + 256..].iter().take_while(|&&byte| byte == 0).count();
        assert!(zeros >= LEFT_TO_OTHERS, "{name} reached deeper than is overwritten");
        let reach = reach(&*operation);
        println!("{name}: {reach} bytes deep");
        assert!(reach < LEFT_TO_OTHERS, "{name} would reach too deep within another one");
    }
}
