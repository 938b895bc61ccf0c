use super::option;

#[test]
fn an_option_is_found_by_its_whole_name() {
    let line = "quiet innkeeper.hostname=web1 root=/dev/vda innkeeper.hostnames=no";
    assert_eq!(option(line, "innkeeper.hostname"), Some("web1"));
    assert_eq!(option(line, "root"), Some("/dev/vda"));
    assert_eq!(option(line, "quiet"), None);
    assert_eq!(option(line, "innkeeper"), None);
}
