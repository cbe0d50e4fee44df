//! Encodes flat arrays as deterministic CBOR (RFC 8949 §4.2.1). It must never join fields without their lengths, which
//! would let two different lists have one encoding.

use coset::CborSerializable;
use coset::cbor::Value;

/// The encoding of an array: every item carries its type and length, integers and lengths take their shortest form.
///
/// Different lists of text, bytes and unsigned integers therefore have different encodings.
pub(crate) fn array(items: Vec<Value>) -> Vec<u8> {
    Value::Array(items).to_vec().expect("encoding to memory does not fail")
}

/// A text item.
pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
