//! As whom a command runs: names of users and groups, as the guest knows them.
//! Spec: passwd(5), group(5).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::errand::Refusal;
use crate::sys_raw::Rights;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: OsString,
    pub(crate) rights: Rights,
    pub(crate) home: OsString,
    pub(crate) shell: OsString,
}

impl User {
    /// `USER[:GROUP]`, each a name or a number; root for an empty text. A number need not be anybody's.
    ///
    /// # Errors
    /// When the guest knows no such name.
    pub(crate) fn find(text: &OsStr) -> Result<Self, Refusal> {
        Self::find_in(text, &System)
    }

    /// Where a command of this user's starts, if it is not said.
    pub(crate) fn directory(&self) -> &Path {
        let home = Path::new(&self.home);
        if home.is_dir() { home } else { Path::new("/") }
    }

    /// What a command of this user's finds in its environment.
    pub(crate) fn variables(&self) -> [(&'static str, &OsStr); 4] {
        [
            ("HOME", &self.home),
            ("USER", &self.name),
            ("LOGNAME", &self.name),
            ("SHELL", &self.shell),
        ]
    }

    fn find_in(text: &OsStr, database: &impl Database) -> Result<Self, Refusal> {
        let mut parts = text.as_bytes().splitn(2, |byte| *byte == b':');
        let who = match parts.next().unwrap_or_default() {
            [] => b"0",
            who => who,
        };
        let mut found = match database.line("passwd", who, 2) {
            Some(line) => Self::from_line(&line).ok_or_else(|| unknown("user", who))?,
            None => Self::by_number(number(who).ok_or_else(|| unknown("user", who))?),
        };
        found.rights.groups = database.groups_of(found.name.as_bytes());
        if let Some(group) = parts.next() {
            let line = database.line("group", group, 2);
            let gid = line.and_then(|line| number(line.split(|byte| *byte == b':').nth(2)?));
            let gid = gid.or_else(|| number(group));
            found.rights.gid = gid.ok_or_else(|| unknown("group", group))?;
        }
        if !found.rights.groups.contains(&found.rights.gid) {
            found.rights.groups.push(found.rights.gid);
        }
        Ok(found)
    }

    /// Somebody whom nobody has written down.
    fn by_number(id: u32) -> Self {
        let name = OsString::from(id.to_string());
        let (home, shell) = if id == 0 {
            ("/root", "/bin/sh")
        } else {
            ("/", "/bin/sh")
        };
        Self {
            name: if id == 0 { "root".into() } else { name },
            rights: Rights {
                uid: id,
                gid: id,
                groups: Vec::new(),
            },
            home: home.into(),
            shell: shell.into(),
        }
    }

    fn from_line(line: &[u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else {
            return None;
        };
        let or = |text: &[u8], otherwise: &str| match text {
            [] => otherwise.into(),
            text => OsStr::from_bytes(text).to_owned(),
        };
        Some(Self {
            name: OsStr::from_bytes(name).to_owned(),
            rights: Rights {
                uid: number(uid)?,
                gid: number(gid)?,
                groups: Vec::new(),
            },
            home: or(home, "/"),
            shell: or(shell, "/bin/sh"),
        })
    }
}

fn unknown(what: &str, name: &[u8]) -> Refusal {
    Refusal {
        errno: libc::EINVAL,
        sentence: format!("there is no {what} {}", String::from_utf8_lossy(name)),
    }
}

fn number(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// Where users and groups are written down.
trait Database {
    fn file(&self, name: &str) -> Vec<u8>;

    /// What other places than files know: a directory of a company, say.
    fn elsewhere(&self, name: &str, key: &[u8]) -> Option<Vec<u8>>;

    /// The line whose first field is `key`, or else the one whose field `id_at` is that number.
    fn line(&self, name: &str, key: &[u8], id_at: usize) -> Option<Vec<u8>> {
        let text = self.file(name);
        let field = |line: &[u8], at: usize| {
            let field = line.split(|byte| *byte == b':').nth(at);
            field.is_some_and(|field| field == key)
        };
        let lines = || text.split(|byte| *byte == b'\n');
        let found = lines()
            .find(|line| field(line, 0))
            .or_else(|| lines().find(|line| field(line, id_at)));
        match found {
            Some(line) => Some(line.to_vec()),
            None => self.elsewhere(name, key),
        }
    }

    /// The groups that have `user` among their members.
    fn groups_of(&self, user: &[u8]) -> Vec<u32> {
        let text = self.file("group");
        let lines = text.split(|byte| *byte == b'\n');
        let groups = lines.filter_map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            let [_, _, gid, members] = fields[..] else {
                return None;
            };
            let is_in = members.split(|byte| *byte == b',').any(|it| it == user);
            number(gid).filter(|_| is_in)
        });
        groups.collect()
    }
}

struct System;

impl Database for System {
    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(format!("/etc/{name}")).unwrap_or_default()
    }

    /// By the guest's own getent(1), since a static program cannot load what the C library would.
    fn elsewhere(&self, name: &str, key: &[u8]) -> Option<Vec<u8>> {
        let mut command = Command::new("getent");
        let command = command.arg(name).arg("--").arg(OsStr::from_bytes(key));
        let answer: io::Result<_> = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
        let answer = answer.ok().filter(|it| it.status.success())?.stdout;
        answer
            .split(|byte| *byte == b'\n')
            .next()
            .map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests;
