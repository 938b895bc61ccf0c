use super::*;

#[test]
fn only_the_host_itself_is_renamed_in_its_hosts() {
    let text = b"127.0.0.1 localhost web\n127.0.1.1\tweb.example web\n10.0.0.1 web\n";
    let new = with_word(text, b"web", b"shop");
    let wanted = b"127.0.0.1 localhost web\n127.0.1.1\tweb.example shop\n10.0.0.1 web\n";
    assert_eq!(new, wanted);
    assert_eq!(with_word(b"127.0.1.1 web", b"web", b"a"), b"127.0.1.1 a");
    assert_eq!(with_word(text, b"", b"shop"), text);
}

#[test]
fn a_file_is_replaced_as_a_whole_and_keeps_its_mode() {
    let directory = std::env::temp_dir().join(format!("identity-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("machine-id");
    replace(&path, b"not made where none was\n").unwrap();
    assert!(!path.exists());
    fs::write(&path, "old\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    replace(&path, b"new\n").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new\n");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o444);
    let link = directory.join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    replace(&link, b"newer\n").unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read(&path).unwrap(), b"new\n");
    fs::remove_dir_all(&directory).unwrap();
}
