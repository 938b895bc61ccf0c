use super::*;

#[test]
fn a_frame_comes_as_it_was_sent() {
    let mut line = Vec::new();
    write(&mut line, Kind::State, b"words").unwrap();
    write(&mut line, Kind::Go, b"").unwrap();
    let (mut from, mut body) = (&line[..], Vec::new());
    assert_eq!(read(&mut from, &mut body).unwrap(), Kind::State);
    assert_eq!(body, b"words");
    assert_eq!(read(&mut from, &mut body).unwrap(), Kind::Go);
    assert!(body.is_empty());
    assert!(matches!(read(&mut from, &mut body), Err(FrameError::Gone)));
}

#[test]
fn a_frame_that_is_cut_short_is_none() {
    let mut line = Vec::new();
    write(&mut line, Kind::State, b"words").unwrap();
    for len in 0..line.len() {
        let found = read(&mut &line[..len], &mut Vec::new());
        assert!(matches!(found, Err(FrameError::Gone)), "{len}");
    }
}

#[test]
fn what_is_promised_takes_no_memory() {
    let mut line = vec![Kind::Pages as u8, 0, 0, 0];
    line.extend(u32::MAX.to_le_bytes());
    let mut body = Vec::new();
    let found = read(&mut &line[..], &mut body);
    assert!(matches!(found, Err(FrameError::Nonsense(_))));
    line[4..8].copy_from_slice(&(1u32 << 20).to_le_bytes());
    assert!(read(&mut &line[..], &mut body).is_err());
    assert!(body.capacity() < 1 << 16);
}

#[test]
fn a_hello_of_another_version_is_refused_in_words() {
    let hello = Hello {
        pages: 7,
        disks: vec![512, 1024],
        post_copy: false,
    };
    let mut bytes = hello.encode();
    assert_eq!(Hello::decode(&bytes).unwrap(), hello);
    let late = Hello {
        post_copy: true,
        ..hello
    };
    assert_eq!(Hello::decode(&late.encode()).unwrap(), late);
    bytes[8] = 3;
    let said = Hello::decode(&bytes).unwrap_err().to_string();
    assert!(said.contains("another version"), "{said}");
    bytes[0] = b'x';
    assert!(Hello::decode(&bytes).is_err());
}
