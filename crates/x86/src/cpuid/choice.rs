//! A CPU as a person asks for it: a model's name, and what shall be different about it.
//!
//! `innkeeper-v1,vendor=amd,-x2apic,+pks`: features by the names of `/proc/cpuinfo`, put in or taken
//! out after the model had its say. Without this no guest can be tested on a CPU that is almost ours.

use thiserror::Error;

use super::feature::{self, Feature, Needs};
use super::{CpuModel, CpuidTable, HostCpuid, VcpuParams, models, table};

/// Whose CPUID leaves, signature and vendor-specific behaviour a guest meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    Intel,
    Amd,
}

/// A model and its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuChoice {
    pub model: &'static CpuModel,
    /// The host's where nobody says otherwise.
    pub vendor: Vendor,
    /// In or out, in the order in which they were asked for.
    pub changes: Vec<(Feature, bool)>,
}

/// Somebody asked for a CPU that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidCpu {
    #[error("there is no CPU model {name:?}; there are {}", model_names())]
    Model { name: String },
    #[error("there is no CPU feature {name:?} that guests can have")]
    Feature { name: String },
    #[error("the host's processor does not have {name}")]
    HostLacks { name: &'static str },
    #[error(
        "{text:?} is no change to a CPU model: write +feature, -feature, vendor=intel or vendor=amd"
    )]
    Change { text: String },
}

fn model_names() -> String {
    let names: Vec<_> = models().iter().map(|model| model.name).collect();
    names.join(", ")
}

/// The model of that name.
///
/// # Errors
/// When there is none.
pub fn model(name: &str) -> Result<&'static CpuModel, InvalidCpu> {
    let found = models().iter().find(|model| model.name == name);
    found.ok_or_else(|| InvalidCpu::Model {
        name: name.to_owned(),
    })
}

impl CpuChoice {
    /// Reads what a person wrote.
    ///
    /// # Errors
    /// When there is no such CPU, or the host cannot give what is asked for by name.
    pub fn parse(text: &str, host: &HostCpuid) -> Result<CpuChoice, InvalidCpu> {
        let mut words = text.split(',');
        let mut choice = CpuChoice {
            model: model(words.next().unwrap_or_default())?,
            vendor: host.vendor(),
            changes: Vec::new(),
        };
        for word in words {
            match word.split_at_checked(1) {
                Some(("+", name)) => choice.changes.push((wanted(name, host)?, true)),
                Some(("-", name)) => choice.changes.push((named(name)?, false)),
                _ => choice.vendor = vendor(word)?,
            }
        }
        Ok(choice)
    }

    /// Everything a vCPU of this CPU answers on this host.
    #[must_use]
    pub fn table(&self, host: &HostCpuid, params: &VcpuParams) -> CpuidTable {
        table::make(self.model, self.vendor, &self.changes, host, params)
    }
}

fn vendor(word: &str) -> Result<Vendor, InvalidCpu> {
    match word {
        "vendor=intel" => Ok(Vendor::Intel),
        "vendor=amd" => Ok(Vendor::Amd),
        _ => Err(InvalidCpu::Change {
            text: word.to_owned(),
        }),
    }
}

fn named(name: &str) -> Result<Feature, InvalidCpu> {
    let mut known = feature::ALL.iter().chain(feature::amd::ALL);
    let found = known.find(|feature| feature.name == name);
    found.copied().ok_or_else(|| InvalidCpu::Feature {
        name: name.to_owned(),
    })
}

fn wanted(name: &str, host: &HostCpuid) -> Result<Feature, InvalidCpu> {
    let feature = named(name)?;
    if feature.needs == Needs::Silicon && !host.table.has(feature) {
        return Err(InvalidCpu::HostLacks { name: feature.name });
    }
    Ok(feature)
}

#[cfg(test)]
mod tests;
