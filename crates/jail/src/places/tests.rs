use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Place, Plan, Use, plan};
use crate::Needs;

struct Scene(PathBuf);

impl Scene {
    fn new(name: &str) -> Scene {
        let name = format!("jail-places-{name}-{}", std::process::id());
        let place = std::env::temp_dir().canonicalize().unwrap().join(name);
        fs::create_dir_all(place.join("a/b")).unwrap();
        fs::write(place.join("a/file"), "").unwrap();
        symlink("a", place.join("link")).unwrap();
        Scene(place)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn place(&self, path: &str, usage: Use) -> Place {
        Place {
            path: self.at(path),
            usage,
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn what_is_beneath_something_else_has_a_place_only_if_more_is_allowed() {
    let scene = Scene::new("beneath");
    let needs = |read: &str, write: &str| Needs {
        read: vec![scene.at(read)],
        write: vec![scene.at(write)],
        ..Needs::default()
    };
    assert_eq!(
        plan(&needs("a", "a/b")).places,
        [scene.place("a", Use::Read), scene.place("a/b", Use::Write)]
    );
    assert_eq!(
        plan(&needs("a/file", "a")).places,
        [scene.place("a", Use::Write)]
    );
    assert_eq!(
        plan(&needs("a", "a")).places,
        [scene.place("a", Use::Write)]
    );
}

#[test]
fn names_that_are_links_stay_names() {
    let scene = Scene::new("links");
    let needs = Needs {
        read: vec![scene.at("link/file"), scene.at("none")],
        ..Needs::default()
    };
    let Plan { places, links } = plan(&needs);
    assert_eq!(places, [scene.place("a/file", Use::Read)]);
    assert_eq!(links, [(scene.at("link/file"), scene.at("a/file"))]);
}

#[test]
fn the_hosts_root_is_nobodys() {
    let needs = Needs {
        read: vec![Path::new("/").to_owned()],
        ..Needs::default()
    };
    assert_eq!(plan(&needs).places, []);
}
