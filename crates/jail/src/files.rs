//! Landlock: which files, and that signals stay in this process.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use crate::{Enforcement, Needs, ProgramNeeds};

/// The newest that this was written for; an older kernel enforces what it knows.
const NEWEST: ABI = ABI::V6;

pub(crate) fn restrict(needs: &Needs) -> Result<Enforcement, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        // Not to run: no program is needed, and none is to be used.
        .add_rules(path_beneath_rules(there(&needs.read), reading()))?
        .add_rules(path_beneath_rules(there(&needs.write), writing()))?
        .add_rules(path_beneath_rules(there(&needs.folders), changing()))?
        .add_rules(path_beneath_rules(there(&needs.devices), controlling()))?;
    let status = ruleset.restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Enforcement::Full,
        RulesetStatus::PartiallyEnforced => Enforcement::Partial,
        RulesetStatus::NotEnforced => Enforcement::None,
    })
}

/// As [`restrict`], for a program that is about to run.
pub(crate) fn restrict_program(needs: &ProgramNeeds) -> Result<(), RulesetError> {
    let running = reading() | AccessFs::Execute;
    let own = writing() & !AccessFs::MakeSock;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(there(&needs.run), running))?
        .add_rules(path_beneath_rules(there(&needs.devices), controlling()))?
        .add_rules(path_beneath_rules([&needs.own], own))?
        .restrict_self()?;
    Ok(())
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn writing() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::RemoveFile
}

fn changing() -> BitFlags<AccessFs> {
    let made = AccessFs::MakeDir | AccessFs::MakeSym | AccessFs::RemoveDir | AccessFs::Refer;
    (writing() & !AccessFs::MakeSock) | made
}

fn controlling() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev
}

fn there(paths: &[PathBuf]) -> Vec<&PathBuf> {
    paths.iter().filter(|path| path.exists()).collect()
}
