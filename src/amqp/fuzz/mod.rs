//! Bodies of the fuzz targets: the laws of the codec, checked on any octets.
//!
//! Each function panics when a law is broken.

mod connection;
mod oracle;

pub use self::connection::fuzz_connection;
pub use self::oracle::fuzz_differential;
use super::frame::{self, Frame};
use super::method::Method;
use super::props::{ContentHeader, Properties};
use super::table::{Array, ArrayBuf, MAX_DEPTH, Table, TableBuf, Value};

/// Frames: a frame is the same however it is cut into reads, is never longer than what is there, and
/// encodes to the octets it came from. The first octet chooses the limit.
pub fn fuzz_frame_decoder(data: &[u8]) {
    let Some((&limit, mut rest)) = data.split_first() else {
        return;
    };
    let frame_max = u32::from(limit) * 16;
    loop {
        let whole = frame::decode(rest, frame_max);
        let needed = match whole {
            Ok(Some((frame, size))) => {
                assert!(frame_max == 0 || size <= frame_max as usize);
                let mut again = Vec::new();
                frame.encode(&mut again);
                assert_eq!(again.as_slice(), &rest[..size]);
                size
            }
            _ => rest.len(),
        };
        for length in 0..needed.min(rest.len()) {
            match frame::decode(&rest[..length], frame_max) {
                Ok(None) => {}
                early @ Err(_) => assert_eq!(early, whole, "a prefix of {length}"),
                Ok(Some(_)) => panic!("a prefix of {length} is a frame already"),
            }
        }
        let Ok(Some((Frame { .. }, size))) = whole else {
            return;
        };
        rest = &rest[size..];
    }
}

/// Tables: what can be read can be written, reads as the same values, and is not nested too deeply.
pub fn fuzz_table(data: &[u8]) {
    let table = Table::from_bytes(data);
    let Ok(copy) = copy_table(table, 1) else {
        assert!(table.check().is_err());
        return;
    };
    assert_eq!(table.check(), Ok(()));
    let again = copy_table(copy.as_table(), 1).expect("what was written can be read");
    assert_eq!(again, copy);
    assert_eq!(format!("{table:?}"), format!("{again:?}"));
    for pair in table {
        let (key, _) = pair.expect("it was checked");
        let Ok(key) = key.to_str() else { continue };
        assert!(matches!(table.find(key), Ok(Some(_))));
    }
}

/// Methods and content headers: what decodes encodes, and decodes to the same again.
pub fn fuzz_method(data: &[u8]) {
    if let Ok(method) = Method::decode(data) {
        let mut again = Vec::new();
        method
            .encode(&mut again)
            .expect("what was decoded can be encoded");
        assert_eq!(Method::decode(&again), Ok(method));
        // A reserved argument that is not empty is written as empty.
        assert!(again.len() <= data.len());
        assert!(method.id().name().is_some());
    }
    if let Ok(header) = ContentHeader::decode(data) {
        let mut again = Vec::new();
        header.encode(&mut again);
        assert_eq!(ContentHeader::decode(&again), Ok(header));
        if let Ok(properties) = Properties::decode(header.property_list) {
            let mut list = Vec::new();
            properties
                .encode(&mut list)
                .expect("what was decoded can be encoded");
            assert_eq!(Properties::decode(&list), Ok(properties));
        }
    }
}

/// Writes a table again, value by value.
fn copy_table(table: Table<'_>, depth: u8) -> Result<TableBuf, ()> {
    assert!(depth <= MAX_DEPTH);
    let mut copy = TableBuf::new();
    for pair in table {
        let (key, value) = pair.map_err(drop)?;
        with_copy(value, depth, |value| {
            copy.insert(key, value).expect("it was a table")
        })?;
    }
    Ok(copy)
}

fn copy_array(array: Array<'_>, depth: u8) -> Result<ArrayBuf, ()> {
    assert!(depth <= MAX_DEPTH);
    let mut copy = ArrayBuf::new();
    for value in array {
        with_copy(value.map_err(drop)?, depth, |value| {
            copy.push(value).expect("it was an array");
        })?;
    }
    Ok(copy)
}

fn with_copy(value: Value<'_>, depth: u8, put: impl FnOnce(Value<'_>)) -> Result<(), ()> {
    match value {
        Value::Table(table) => put(copy_table(table, depth + 1)?.as_table().into()),
        Value::Array(array) => put(copy_array(array, depth + 1)?.as_array().into()),
        value => put(value),
    }
    Ok(())
}
