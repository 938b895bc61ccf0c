use super::{Folder, option};

#[test]
fn an_option_is_found_by_its_whole_name() {
    let line = "quiet innkeeper.hostname=web1 root=/dev/vda innkeeper.hostnames=no";
    assert_eq!(option(line, "innkeeper.hostname"), Some("web1"));
    assert_eq!(option(line, "root"), Some("/dev/vda"));
    assert_eq!(option(line, "quiet"), None);
    assert_eq!(option(line, "innkeeper"), None);
}

#[test]
fn a_folder_has_a_place_with_any_name() {
    let folder = |text| Folder::parse(text).map(|it| (it.tag, it.path, it.read_only));
    let is = |tag: &str, path: &str, read_only| Some((tag.into(), path.into(), read_only));
    assert_eq!(folder("inn0:/src"), is("inn0", "/src", false));
    assert_eq!(folder("inn1:/a%20b/%C3%A4:ro"), is("inn1", "/a b/ä", true));
    assert_eq!(folder("inn1:/100%25"), is("inn1", "/100%", false));
    for nonsense in ["inn0", "inn0:/a%2", "inn0:/%zz", "inn0:/%ff"] {
        assert_eq!(folder(nonsense), None, "{nonsense}");
    }
}
