use super::*;
use std::fs::File;

/// A run page that no kernel writes to.
fn page() -> RunPage {
    let path = std::env::temp_dir().join(format!("run-page-{:?}", std::thread::current().id()));
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file.set_len(0x3000).unwrap();
    RunPage::map(&file, 0x3000).unwrap()
}

#[test]
fn string_output_comes_element_by_element() {
    let page = page();
    page.write(0x1000, &[1, 0, 2, 0, 3, 0]);
    let mut transfer = Transfer {
        target: Target::Port(0x3f8),
        write: true,
        offset: 0x1000,
        len: 6,
        element: 2,
        done: 0,
    };
    for value in 1..=3 {
        assert_eq!(
            transfer.next(&page),
            Some(Exit::PortWrite {
                port: 0x3f8,
                size: 2,
                value
            })
        );
    }
    assert_eq!(transfer.next(&page), None);
}

#[test]
fn odd_lengths_come_in_powers_of_two() {
    let page = page();
    page.write(0x1000, &[1, 2, 3, 4, 5, 6, 7]);
    let mut transfer = Transfer {
        target: Target::Mmio(Gpa(0xfff9)),
        write: true,
        offset: 0x1000,
        len: 7,
        element: 8,
        done: 0,
    };
    let pieces = [
        (0xfff9, 4, 0x0403_0201),
        (0xfffd, 2, 0x0605),
        (0xffff, 1, 7),
    ];
    for (gpa, size, value) in pieces {
        assert_eq!(
            transfer.next(&page),
            Some(Exit::MmioWrite {
                gpa: Gpa(gpa),
                size,
                value
            })
        );
    }
    assert_eq!(transfer.next(&page), None);
}

#[test]
fn reads_wait_for_each_value() {
    let page = page();
    let mut transfer = Transfer {
        target: Target::Port(0x60),
        write: false,
        offset: 0x2000,
        len: 2,
        element: 1,
        done: 0,
    };
    for value in [0xaa, 0x1bb] {
        assert_eq!(
            transfer.next(&page),
            Some(Exit::PortRead {
                port: 0x60,
                size: 1
            })
        );
        assert!(transfer.wants_value());
        transfer.complete(&page, value);
    }
    assert!(!transfer.wants_value());
    assert_eq!(transfer.next(&page), None);
    let mut bytes = [0; 3];
    page.read(0x2000, &mut bytes);
    assert_eq!(bytes, [0xaa, 0xbb, 0]);
}

#[test]
fn nothing_outside_the_page_is_touched() {
    let page = page();
    let mut transfer = Transfer {
        target: Target::Port(0x60),
        write: true,
        offset: usize::MAX,
        len: 1,
        element: 1,
        done: 0,
    };
    assert_eq!(
        transfer.next(&page),
        Some(Exit::PortWrite {
            port: 0x60,
            size: 1,
            value: 0
        })
    );
}
