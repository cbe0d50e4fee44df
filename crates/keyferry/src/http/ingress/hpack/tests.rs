use super::*;

type Fields = Vec<(String, String)>;

fn bytes(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.replace([' ', '\n'], "").as_bytes()).expect("hex")
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Malformed> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    decoder.decode(block, |name, value| fields.push((text(name), text(value)))).map(|()| fields)
}

fn pairs(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const FIRST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];

/// RFC 7541, appendices C.3 and C.4: three requests on one connection, without and with Huffman.
#[test]
fn the_requests_of_the_standard_are_read_with_the_table_they_build() {
    let second = [&FIRST[..], &[("cache-control", "no-cache")]].concat();
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    for blocks in [
        [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
        [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
    ] {
        let mut decoder = Decoder::new();
        assert_eq!(read(&mut decoder, &bytes(blocks[0])), Ok(pairs(&FIRST)));
        assert_eq!(decoder.size, 57);
        assert_eq!(read(&mut decoder, &bytes(blocks[1])), Ok(pairs(&second)));
        assert_eq!(decoder.size, 110);
        assert_eq!(read(&mut decoder, &bytes(blocks[2])), Ok(pairs(&third)));
        assert_eq!(decoder.size, 164);
    }
}

#[test]
fn a_secret_in_the_table_is_read_from_it_again() {
    let mut decoder = Decoder::new();
    let mut block = vec![0x40, 9];
    block.extend_from_slice(b"x-api-key\x06sk-one");
    assert_eq!(read(&mut decoder, &block), Ok(pairs(&[("x-api-key", "sk-one")])));
    assert!(matches!(decoder.table[0].value, Value::Secret(_)));
    let named = [0x7e, 6].iter().chain(b"sk-two").copied().collect::<Vec<_>>();
    assert_eq!(read(&mut decoder, &named), Ok(pairs(&[("x-api-key", "sk-two")])));
    let again = pairs(&[("x-api-key", "sk-two"), ("x-api-key", "sk-one")]);
    assert_eq!(read(&mut decoder, &[0xbe, 0xbf]), Ok(again));
    // A table of nothing forgets both.
    assert_eq!(read(&mut decoder, &[0x20]), Ok(Vec::new()));
    assert_eq!((decoder.size, decoder.table.len()), (0, 0));
    assert_eq!(read(&mut decoder, &[0xbe]), Err(Malformed));
    assert_eq!(read(&mut decoder, &block), Ok(pairs(&[("x-api-key", "sk-one")])));
    assert_eq!(decoder.table.len(), 0);
}

#[test]
fn the_oldest_entries_make_room_and_one_that_is_too_large_empties_the_table() {
    let mut decoder = Decoder::new();
    let entry = |name: &str, length: usize| {
        let mut block = vec![0x40];
        encode_length(name.len(), &mut block);
        block.extend_from_slice(name.as_bytes());
        encode_length(length, &mut block);
        block.resize(block.len() + length, b'v');
        block
    };
    for name in ["a", "b", "c"] {
        read(&mut decoder, &entry(name, 2000)).expect("read");
    }
    let names: Vec<_> = decoder.table.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!((names, decoder.size), (vec![b"c".to_vec(), b"b".to_vec()], 2 * (2000 + 1 + ENTRY)));
    read(&mut decoder, &entry("d", MAX_TABLE)).expect("read");
    assert_eq!((decoder.table.len(), decoder.size), (0, 0));
}

#[test]
fn what_breaks_a_rule_is_malformed() {
    for block in [
        "80",               // index 0
        "be",               // an entry that is not there
        "ffffffff7f",       // an index that is too large
        "ff8080808000",     // an integer that does not end
        "40",               // nothing behind the kind
        "400a6375",         // a name that is cut
        "400361626382ffff", // Huffman with a wrong filling
        "3fe21f",           // a table of 4097
        "8220",             // a size behind a field
        "7e0161",           // a name from an empty table
    ] {
        assert_eq!(read(&mut Decoder::new(), &bytes(block)), Err(Malformed), "{block}");
    }
}

#[test]
fn a_block_with_far_more_fields_than_a_request_has_is_malformed() {
    let read = |fields: usize| read(&mut Decoder::new(), &vec![0x82; fields]).map(|fields| fields.len());
    assert_eq!(read(MAX_IN_BLOCK), Ok(MAX_IN_BLOCK));
    assert_eq!(read(MAX_IN_BLOCK + 1), Err(Malformed));
}

#[test]
fn what_is_written_is_read_again() {
    let long = "v".repeat(20_000);
    let fields =
        [("", ""), ("name", "value"), ("a", &"x".repeat(126)), ("b", &"x".repeat(127)), ("c", &long)];
    let mut block = Vec::new();
    for (name, value) in fields {
        encode(name.as_bytes(), value.as_bytes(), &mut block);
    }
    let mut decoder = Decoder::new();
    assert_eq!(read(&mut decoder, &block), Ok(pairs(&fields)));
    assert!(decoder.table.is_empty());
}

/// A secret that the table is to remember.
fn secret(value: &str) -> Vec<u8> {
    let mut block = vec![0x40, 9];
    block.extend_from_slice(b"x-api-key");
    encode_length(value.len(), &mut block);
    block.extend_from_slice(value.as_bytes());
    block
}

#[test]
fn a_table_keeps_few_secrets_and_what_refers_to_others_is_malformed() {
    for (length, kept) in [(1, MAX_SECRETS / 64), (300, MAX_SECRETS / 300)] {
        let mut decoder = Decoder::new();
        let values: Vec<_> = (0..=kept).map(|n| format!("{n:0length$}")).collect();
        for value in &values {
            assert_eq!(read(&mut decoder, &secret(value)), Ok(pairs(&[("x-api-key", value)])));
        }
        let held: usize = decoder.table.iter().map(Entry::locked).sum();
        assert_eq!(decoder.secrets, held);
        assert!(held <= MAX_SECRETS && held > MAX_SECRETS / 2, "{held}");
        // The newest is not kept: its name serves still, its value does not.
        let named = read(&mut decoder, &[0x0f, 62 - 15, 1, b'k']);
        assert_eq!(named, Ok(pairs(&[("x-api-key", "k")])));
        assert_eq!(read(&mut decoder, &[0xbe]), Err(Malformed));
        let size = decoder.table.iter().map(Entry::size).sum::<usize>();
        assert_eq!(decoder.size, size);
    }
}

#[test]
fn with_the_settings_acknowledged_there_is_no_table() {
    let mut decoder = Decoder::new();
    read(&mut decoder, &secret("sk-one")).expect("read");
    assert!(decoder.keeps_secrets());
    decoder.end_table();
    assert_eq!((decoder.table.len(), decoder.size, decoder.keeps_secrets()), (0, 0, false));
    assert_eq!(read(&mut decoder, &[0x20]), Ok(Vec::new()), "as the standard wants it");
    read(&mut decoder, &secret("sk-one")).expect("read");
    assert_eq!(decoder.table.len(), 0);
    assert_eq!(read(&mut decoder, &[0x21]), Err(Malformed), "a larger one than we allow");
}
