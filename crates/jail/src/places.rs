//! What of the host's files is there in the root of a guest's process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Needs;

/// The order is that of what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    Read,
    Write,
    Control,
}

/// A file or a directory with all below it, by the path that has no links in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) usage: Use,
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Sorted, so that a directory comes before what is in it.
    pub(crate) places: Vec<Place>,
    /// What else something is called, and its path.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
}

/// What is there with a directory that allows as much, has no place of its own: inside of a folder, a
/// mount could be neither renamed nor removed. What is not there at all is left out.
pub(crate) fn plan(needs: &Needs) -> Plan {
    let mut found: BTreeMap<PathBuf, Use> = BTreeMap::new();
    let mut plan = Plan::default();
    for (paths, usage) in [
        (&needs.read, Use::Read),
        (&needs.write, Use::Write),
        (&needs.folders, Use::Write),
        (&needs.devices, Use::Control),
    ] {
        for name in paths {
            let Ok(path) = name.canonicalize() else {
                continue;
            };
            // The root itself would be no root of its own.
            if path == Path::new("/") {
                continue;
            }
            if name.is_absolute() && *name != path {
                plan.links.push((name.clone(), path.clone()));
            }
            let most = found.entry(path).or_insert(usage);
            *most = usage.max(*most);
        }
    }
    for (path, usage) in found {
        let mut above = plan.places.iter().rev();
        let outer = above.find(|place| path.starts_with(&place.path));
        if outer.is_none_or(|outer| outer.usage < usage) {
            plan.places.push(Place { path, usage });
        }
    }
    plan
}

#[cfg(test)]
mod tests;
