use super::*;

struct Books;

impl Database for Books {
    fn file(&self, name: &str) -> Vec<u8> {
        let text = match name {
            "passwd" => {
                "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1001:Ann,,,:/home/ann:\nbad:x:a:1\n"
            }
            _ => "root:x:0:\nsudo:x:27:bob,ann\nann:x:1001:\naudio:x:29:joann\n",
        };
        text.into()
    }

    fn elsewhere(&self, name: &str, key: &[u8]) -> Option<Vec<u8>> {
        (name == "passwd" && key == b"eve")
            .then(|| b"eve:*:70000:70000::/home/eve:/bin/zsh".to_vec())
    }
}

fn find(text: &str) -> Result<(u32, u32, Vec<u32>, OsString), String> {
    let found = User::find_in(text.as_ref(), &Books).map_err(|refusal| refusal.sentence)?;
    let rights = found.rights;
    Ok((rights.uid, rights.gid, rights.groups, found.home))
}

#[test]
fn names_and_numbers_are_looked_up_with_their_groups() {
    assert_eq!(find(""), Ok((0, 0, vec![0], "/root".into())));
    let ann = Ok((1000, 1001, vec![27, 1001], "/home/ann".into()));
    assert_eq!(find("ann"), ann);
    assert_eq!(find("1000"), ann);
    let with_group = Ok((1000, 29, vec![27, 29], "/home/ann".into()));
    assert_eq!(find("ann:audio"), with_group);
    assert_eq!(find("ann:29"), with_group);
    assert_eq!(find("eve").map(|eve| eve.0), Ok(70000));
}

#[test]
fn a_number_need_not_be_anybodys_but_a_name() {
    assert_eq!(find("33"), Ok((33, 33, vec![33], "/".into())));
    assert_eq!(find("33:44"), Ok((33, 44, vec![44], "/".into())));
    assert_eq!(find("nobody"), Err("there is no user nobody".into()));
    assert_eq!(find("bad"), Err("there is no user bad".into()));
    assert_eq!(find("ann:wheel"), Err("there is no group wheel".into()));
    assert_eq!(find("-1"), Err("there is no user -1".into()));
}

#[test]
fn an_empty_shell_is_the_bourne_shell() {
    let ann = User::find_in("ann".as_ref(), &Books).unwrap();
    assert_eq!((ann.name, ann.shell), ("ann".into(), "/bin/sh".into()));
}
