use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0x0;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        encode(name.as_bytes(), value.as_bytes(), &mut out);
    }
    out
}

/// What comes out in pieces of this size, and the secrets.
fn pass(input: &[u8], piece: usize) -> (Vec<u8>, Vec<Extracted>, bool) {
    let (mut frames, mut out, mut extracted) = (Frames::after(PREFACE.len()), Vec::new(), Vec::new());
    for part in input.chunks(piece) {
        // As the stream does it: what may pass does so without being looked at.
        let passing = frames.passing().min(part.len());
        out.extend_from_slice(&part[..passing]);
        frames.passed(passing);
        let mut at = passing;
        while at < part.len() {
            let mut some = Vec::new();
            at += frames.feed(&part[at..], &mut some);
            out.extend(some);
            extracted.extend(frames.extracted());
        }
    }
    (out, extracted, frames.is_broken())
}

#[test]
fn header_blocks_are_written_anew_and_all_else_passes_however_it_is_split() {
    let fields =
        [(":path", "/"), ("x-api-key", "sk-one"), ("accept", "*/*"), ("authorization", " Bearer a ")];
    let plain = block(&fields);
    let padded = [&[3][..], &plain, &[0; 3]].concat();
    let weighted = [&[0x80, 0, 0, 0, 9][..], &plain].concat();
    let both = [&[2, 0, 0, 0, 0, 7][..], &plain, &[0; 2]].concat();
    let indexed = [&[0x40, 10][..], b"x-byok-key", &[6], b"sk-two", &[0xbe]].concat();
    let input = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &plain),
        frame(DATA, END_STREAM, 1, b"x-api-key: in a body"),
        frame(HEADERS, END_HEADERS | PADDED | END_STREAM, 3, &padded),
        frame(PING, 0, 0, b"12345678"),
        frame(HEADERS, END_HEADERS | PRIORITY, 5, &weighted),
        frame(HEADERS, PADDED | PRIORITY, 7, &both),
        frame(CONTINUATION, 0, 7, &[]),
        frame(CONTINUATION, END_HEADERS, 7, &indexed),
        frame(HEADERS, END_HEADERS, 9, &block(&[("accept", "*/*")])),
        frame(0xbb, 0xff, 0, b"of a kind nobody knows"),
    ]
    .concat();
    let marked = |number: u8, more: &[(&str, &str)]| {
        let (key, token) = (format!("*****{number}"), format!(" *******{number} "));
        let fields = [(":path", "/"), ("x-api-key", &key), ("accept", "*/*"), ("authorization", &token)];
        block(&[&fields[..], more].concat())
    };
    let twice = [("x-byok-key", "*****4"), ("x-byok-key", "*****4")];
    let expected = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &marked(1, &[])),
        frame(DATA, END_STREAM, 1, b"x-api-key: in a body"),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, &marked(2, &[])),
        frame(PING, 0, 0, b"12345678"),
        frame(HEADERS, END_HEADERS, 5, &marked(3, &[])),
        frame(HEADERS, END_HEADERS, 7, &marked(4, &twice)),
        frame(HEADERS, END_HEADERS, 9, &block(&[("accept", "*/*")])),
        frame(0xbb, 0xff, 0, b"of a kind nobody knows"),
    ]
    .concat();
    for piece in [1, 2, 7, 100, 4096] {
        let (out, mut extracted, broken) = pass(&input, piece);
        assert!(out == expected && !broken, "in pieces of {piece}");
        assert_eq!(extracted.iter().map(|one| one.mark).collect::<Vec<_>>(), [1, 2, 3, 4].map(Mark));
        for one in &mut extracted {
            for (name, value) in [("x-api-key", &b"sk-one"[..]), ("authorization", b"Bearer a")] {
                assert_eq!(one.secrets.take(name).expect("once").expect("there").expose(), value);
            }
            assert_eq!(one.secrets.take("x-byok-key").is_err(), one.mark == Mark(4), "it stands twice there");
        }
    }
}

#[test]
fn a_block_that_grows_is_put_out_in_frames_that_are_not_too_large() {
    let long = "k".repeat(15_000);
    // The table gives the long value back in one byte.
    let mut input = vec![0x40, 1, b'a'];
    input.extend([127, 0]);
    let value = "v".repeat(127);
    input.extend_from_slice(value.as_bytes());
    input.extend([0xbe; 80]);
    let all = [PREFACE, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &input)].concat();
    let (out, _, broken) = pass(&all, 1000);
    let fields: Vec<_> = std::iter::repeat_n(("a", value.as_str()), 81).collect();
    assert!(!broken && out[PREFACE.len()..] == frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)));

    let fields = [("x-api-key", long.as_str()), ("b", &long), ("c", "never shown")];
    let whole = block(&fields);
    let input = [
        PREFACE.to_vec(),
        frame(HEADERS, END_STREAM, 1, &whole[..MAX_FRAME]),
        frame(CONTINUATION, END_HEADERS, 1, &whole[MAX_FRAME..]),
    ]
    .concat();
    let key = format!("{}1", "*".repeat(14_999));
    let marked = block(&[("x-api-key", &key), ("b", &long)]);
    let expected = [
        PREFACE.to_vec(),
        frame(HEADERS, END_STREAM, 1, &marked[..MAX_FRAME]),
        frame(CONTINUATION, END_HEADERS, 1, &marked[MAX_FRAME..]),
    ]
    .concat();
    let (out, _, broken) = pass(&input, 5000);
    assert!(out == expected && !broken, "the library refuses it by its size");
}

#[test]
fn a_secret_with_a_forbidden_character_or_name_is_left_for_the_library_to_refuse() {
    for (name, value) in [("x-api-key", "sk\r\nx: y"), ("x-api-key", "sk\0"), ("X-Api-Key", "sk-one")] {
        let input = [PREFACE, &frame(HEADERS, END_HEADERS, 1, &block(&[(name, value)]))].concat();
        let (out, extracted, broken) = pass(&input, 4096);
        let zeros = "\0".repeat(value.len());
        assert_eq!(out[PREFACE.len()..], frame(HEADERS, END_HEADERS, 1, &block(&[(name, &zeros)])));
        assert!(extracted.is_empty() && !broken);
    }
}

#[test]
fn a_secret_in_trailers_is_kept_nowhere_and_left_for_the_library_to_refuse() {
    let head = block(&[(":path", "/")]);
    let trailers = block(&[("x-api-key", "sk-one"), ("a", "b")]);
    for second in [1, 3] {
        let input = [
            PREFACE.to_vec(),
            frame(HEADERS, END_HEADERS, 3, &head),
            frame(HEADERS, END_HEADERS | END_STREAM, second, &trailers),
        ]
        .concat();
        let (out, extracted, broken) = pass(&input, 4096);
        let zeros = block(&[("x-api-key", "\0\0\0\0\0\0"), ("a", "b")]);
        assert!(out.ends_with(&frame(HEADERS, END_HEADERS | END_STREAM, second, &zeros)));
        assert!(extracted.is_empty() && !broken);
    }
}

#[test]
fn input_waits_when_enough_was_put_out() {
    // One entry of the table, which three bytes put out three times.
    let mut first = vec![0x40, 1, b'a'];
    let value = vec![b'v'; 4000];
    first.extend([127, 0xa1, 0x1e]);
    first.extend(&value);
    let mut input = [PREFACE, &frame(HEADERS, END_HEADERS, 1, &first)].concat();
    for stream in 1..500 {
        input.extend(frame(HEADERS, END_HEADERS, 1 + 2 * stream, &[0xbe; 3]));
    }
    let (mut frames, mut at, mut heads) = (Frames::after(PREFACE.len()), 0, 0);
    while at < input.len() {
        let mut out = Vec::new();
        at += frames.feed(&input[at..], &mut out);
        assert!(out.len() < MAX_OUT + 3 * 4096 && !frames.is_broken());
        heads += memchr::memmem::find_iter(&out, &value).count();
    }
    assert_eq!(heads, 1 + 3 * 499);
}

#[test]
fn what_cannot_be_passed_on_ends_the_connection() {
    let good = block(&[(":path", "/")]);
    let endless = std::iter::repeat_n(frame(CONTINUATION, 0, 1, &good), MAX_CONTINUATIONS + 1).flatten();
    for (name, bad) in [
        ("a block that is malformed", frame(HEADERS, END_HEADERS, 1, &[0x80])),
        ("a frame that is too large", frame(HEADERS, END_HEADERS, 1, &vec![0; MAX_FRAME + 1])),
        ("more padding than payload", frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0, 0])),
        ("no room for its weight", frame(HEADERS, END_HEADERS | PRIORITY, 1, &[0; 4])),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &good)),
        ("another frame in a block", [frame(HEADERS, 0, 1, &good), frame(DATA, 0, 1, b"x")].concat()),
        (
            "another stream's",
            [frame(HEADERS, 0, 1, &good), frame(CONTINUATION, END_HEADERS, 3, &good)].concat(),
        ),
        ("a block without end", frame(HEADERS, 0, 1, &good).into_iter().chain(endless).collect()),
    ] {
        for piece in [1, 9, 100_000] {
            let input = [PREFACE, &bad, &frame(HEADERS, END_HEADERS, 5, &good)].concat();
            let (out, extracted, broken) = pass(&input, piece);
            assert_eq!(out[PREFACE.len()..], UNACCEPTABLE, "{name}");
            assert!(broken && extracted.is_empty(), "{name}");
        }
    }
}

/// A small generator of the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn damaged_input_is_taken_in_the_same_way_however_it_is_split() {
    let fields = block(&[(":path", "/"), ("x-api-key", "sk-one"), ("authorization", "Bearer a")]);
    let huffman =
        [&[0x40, 0x88][..], &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], &[1, b'v', 0xbe]].concat();
    let good = [
        PREFACE.to_vec(),
        frame(HEADERS, END_HEADERS, 1, &fields),
        frame(DATA, END_STREAM, 1, b"a body"),
        frame(HEADERS, PADDED | PRIORITY, 3, &[&[2, 0, 0, 0, 0, 7][..], &fields, &[0; 2]].concat()),
        frame(CONTINUATION, END_HEADERS, 3, &huffman),
        frame(HEADERS, END_HEADERS, 5, &huffman),
    ]
    .concat();
    let (mut numbers, mut broken_off, mut passed) = (Numbers(1), 0, 0);
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..=numbers.below(3) {
            let at = PREFACE.len() + numbers.below(bad.len() - PREFACE.len());
            bad[at] = numbers.below(256) as u8;
        }
        let whole = pass(&bad, bad.len());
        let piece = 1 + numbers.below(20);
        let split = pass(&bad, piece);
        assert!(whole.0 == split.0 && whole.2 == split.2, "{bad:?} in pieces of {piece}");
        assert_eq!(whole.1.len(), split.1.len());
        (broken_off, passed) = (broken_off + usize::from(whole.2), passed + usize::from(!whole.2));
    }
    assert!(broken_off > 1000 && passed > 1000, "{broken_off} broken off, {passed} passed");
}
