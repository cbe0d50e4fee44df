//! A provider's answer is read the same however it is cut in pieces, and no more of it is read than there is.
#![no_main]

use keyferry::fuzzing::upstream::read;
use keyferry_fuzz::cut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((text, pieces)) = cut(input) else { return };
    for closes in [false, true] {
        let whole = read([text], closes);
        assert!(whole.body.len() <= text.len());
        assert!(!(whole.ended && whole.malformed));
        assert_eq!(read(pieces.iter().copied(), closes), whole);
        assert_eq!(read(text.chunks(1), closes), whole);
        if let Some((status, headers)) = &whole.head {
            assert!((200..1000).contains(status) || *status == 101);
            assert!(headers.values().all(|value| !value.as_bytes().contains(&b'\n')));
        }
    }
});
