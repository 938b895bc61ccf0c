use super::Table;

#[test]
fn a_number_is_not_its_successor_s() {
    let mut table: Table<&str, u32> = Table::new(2);
    let first = table.insert("a", |_| Some(1)).unwrap();
    assert!(table.insert("a", |_| Some(9)).is_none(), "taken");
    assert_eq!(table.remove(first), Some(1));
    assert_eq!(table.find(&"a"), None);
    let second = table.insert("b", |_| Some(2)).unwrap();
    assert_eq!(second.index(), first.index());
    assert!(table.get(first).is_none() && table.remove(first).is_none());
    assert_eq!(table.get(second), Some(&mut 2));
    assert_eq!(table.find(&"b"), Some(second));
}

#[test]
fn it_holds_as_many_as_it_shall() {
    let mut table: Table<u32, ()> = Table::new(3);
    for key in 0..10 {
        table.insert(key, |_| Some(()));
    }
    assert_eq!((table.len(), table.iter_mut().count()), (3, 3));
    let id = table.find(&1).unwrap();
    assert!(table.remove(id).is_some() && !table.is_full());
    assert!(table.insert(11, |_| None).is_none() && table.len() == 2);
    assert!(table.insert(12, |_| Some(())).is_some() && table.is_full());
}
