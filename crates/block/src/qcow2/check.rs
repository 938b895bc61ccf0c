//! Checking an image's counts against what its tables point to, and putting them right.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::PoisonError;

use crate::BlockError;
use crate::qcow2::Qcow2Disk;
use crate::qcow2::bitmap_directory::Piece;
use crate::qcow2::bitmaps::Bitmaps;
use crate::qcow2::header::{AT_AUTOCLEAR, AUTOCLEAR_BITMAPS, DIRTY, OFFSET_MASK};
use crate::qcow2::layout::Entry;
use crate::qcow2::tables::{Tables, corrupt};

/// Clusters of the file that a check counts: 8 TiB in clusters of 64 KiB, 512 MiB of memory.
pub(super) const MAX_CLUSTERS: u64 = 1 << 27;
/// L2 tables that a check looks at, those of snapshots once for each.
pub(super) const MAX_TABLES: u64 = 1 << 22;
/// Sentences that a report has.
const MAX_FINDINGS: usize = 50;

/// What a check puts right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    Nothing,
    /// Storage that nothing points to.
    Leaks,
    All,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Counts and flags by which data can be lost.
    pub errors: u64,
    /// Clusters that nothing points to and that are counted.
    pub leaks: u64,
    /// Errors and leaks that were put right.
    pub repaired: u64,
    /// Clusters that the disk has, and those of them that are in the image itself.
    pub clusters: u64,
    pub allocated: u64,
    pub compressed: u64,
    /// The image was not closed by whoever wrote to it last.
    pub was_open: bool,
    /// What was found, the first of them, a sentence each.
    pub findings: Vec<String>,
}

impl CheckReport {
    fn error(&mut self, finding: String) {
        self.errors += 1;
        self.find(finding);
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// References that were found.
struct Census {
    uses: Vec<u32>,
    size: u64,
    tables: u64,
}

impl Census {
    fn add(&mut self, report: &mut CheckReport, first: u64, count: u64, what: &str) {
        for cluster in first..first.saturating_add(count.min(MAX_CLUSTERS)) {
            let place = usize::try_from(cluster).ok();
            match place.and_then(|at| self.uses.get_mut(at)) {
                Some(uses) => *uses = uses.saturating_add(1),
                None => {
                    report.error(format!(
                        "{what} lies outside the file, in cluster {cluster}"
                    ));
                    break;
                }
            }
        }
    }

    fn add_bytes(&mut self, report: &mut CheckReport, offset: u64, len: u64, what: &str) {
        let first = offset / self.size;
        let end = offset.saturating_add(len).div_ceil(self.size);
        self.add(report, first, end.saturating_sub(first), what);
    }
}

impl Tables {
    /// What has to be done before an image is written to; its bitmaps.
    pub(super) fn prepare(&mut self, path: &Path) -> Result<Bitmaps, BlockError> {
        let damaged = |error: io::Error| BlockError::Qcow2 {
            path: path.to_owned(),
            what: error.to_string(),
        };
        let kept = self.fixed.autoclear & AUTOCLEAR_BITMAPS;
        if self.fixed.autoclear != kept {
            // What others know of the image's content, we do not keep up with.
            self.storage
                .write_at(&kept.to_be_bytes(), AT_AUTOCLEAR)
                .map_err(damaged)?;
            self.fixed.autoclear = kept;
        }
        let bitmaps = self.load_bitmaps().map_err(damaged)?;
        if self.fixed.incompatible & DIRTY != 0 {
            self.check(Repair::All).map_err(damaged)?;
        }
        Ok(bitmaps)
    }

    fn check(&mut self, repair: Repair) -> io::Result<CheckReport> {
        let mut report = CheckReport {
            was_open: self.fixed.incompatible & DIRTY != 0,
            clusters: self.fixed.size.div_ceil(self.layout.cluster()),
            ..CheckReport::default()
        };
        let uses = self.census(&mut report)?;
        let mut set = Vec::new();
        for (cluster, &uses) in uses.iter().enumerate() {
            let (cluster, uses) = (cluster as u64, u64::from(uses));
            let count = self.count(cluster)?;
            if count == uses {
                continue;
            }
            if count > uses {
                report.leaks += 1;
                report.find(format!(
                    "cluster {cluster} is counted {count} times, used {uses} times"
                ));
            } else {
                report.error(format!(
                    "cluster {cluster} is counted {count} times, used {uses} times"
                ));
            }
            if repair == Repair::All || (repair == Repair::Leaks && count > uses) {
                set.push((cluster, uses));
            }
        }
        for cluster in self.counted_behind(&uses)? {
            report.leaks += 1;
            report.find(format!(
                "cluster {cluster} is counted and lies behind the file's end"
            ));
            set.push((cluster, 0));
        }
        if repair != Repair::Nothing {
            self.begin_change()?;
            for &(cluster, uses) in &set {
                if uses > self.layout.greatest_count() {
                    return Err(corrupt("a cluster is used more often than can be counted"));
                }
                self.set_count(cluster, uses)?;
            }
            report.repaired += set.len() as u64;
        }
        let flags = self.copied_flags(repair == Repair::All)?;
        if flags > 0 {
            report.errors += flags;
            report.find(format!(
                "{flags} table entries say wrongly whether a snapshot shares them"
            ));
        }
        if repair == Repair::All {
            report.repaired += flags;
        }
        if repair != Repair::Nothing && report.repaired >= report.errors {
            self.close()?;
        }
        Ok(report)
    }

    /// Clusters behind the file's end that are counted.
    fn counted_behind(&mut self, uses: &[u32]) -> io::Result<Vec<u64>> {
        let per_block = self.layout.counts_per_block();
        let end = uses.len() as u64;
        let mut found = Vec::new();
        let first = usize::try_from(end / per_block).unwrap_or(usize::MAX);
        for block in first..self.refcount_table.len() {
            let at = (self.refcount_table[block] & OFFSET_MASK) / self.layout.cluster();
            let used = usize::try_from(at).ok().and_then(|at| uses.get(at));
            // A block that is there more than once would make this endless.
            if at == 0 || used != Some(&1) {
                continue;
            }
            let start = block as u64 * per_block;
            for cluster in start.max(end)..start + per_block {
                if self.count(cluster)? != 0 {
                    found.push(cluster);
                }
            }
        }
        Ok(found)
    }

    fn census(&mut self, report: &mut CheckReport) -> io::Result<Vec<u32>> {
        let size = self.layout.cluster();
        let clusters = self.file_len.div_ceil(size);
        if clusters > MAX_CLUSTERS {
            return Err(io::Error::other(format!(
                "the file has {clusters} clusters, more than are checked"
            )));
        }
        let mut census = Census {
            uses: vec![0; usize::try_from(clusters).unwrap_or(0)],
            size,
            tables: 0,
        };
        census.add(report, 0, 1, "the header");
        let (at, len) = (self.fixed.refcount_offset, self.fixed.refcount_len());
        census.add_bytes(report, at, len, "the refcount table");
        for entry in &self.refcount_table {
            if entry & OFFSET_MASK != 0 {
                let at = (entry & OFFSET_MASK) / size;
                census.add(report, at, 1, "a block of reference counts");
            }
        }
        let (at, len) = (self.fixed.l1_offset, self.l1.len() as u64 * 8);
        census.add_bytes(report, at, len, "the L1 table");
        let l1 = self.l1.clone();
        self.walk(&mut census, report, &l1, true)?;
        let (snapshots, len) = self.snapshots()?;
        census.add_bytes(
            report,
            self.fixed.snapshots_offset,
            len,
            "the snapshot table",
        );
        for snapshot in snapshots {
            let l1 = self.snapshot_l1(&snapshot)?;
            let len = l1.len() as u64 * 8;
            census.add_bytes(report, snapshot.l1_offset, len, "a snapshot's L1 table");
            self.walk(&mut census, report, &l1, false)?;
        }
        self.count_bitmaps(&mut census, report)?;
        Ok(census.uses)
    }

    /// Counts what an L1 table leads to.
    fn walk(
        &mut self,
        census: &mut Census,
        report: &mut CheckReport,
        l1: &[u64],
        active: bool,
    ) -> io::Result<()> {
        let mut seen = HashSet::new();
        for entry in l1 {
            let table = entry & OFFSET_MASK;
            if table == 0 {
                continue;
            }
            census.tables += 1;
            if census.tables > MAX_TABLES {
                return Err(io::Error::other(
                    "the image has more tables than are checked",
                ));
            }
            census.add(report, table / census.size, 1, "an L2 table");
            let inside = table < self.file_len && table.is_multiple_of(census.size);
            if !inside || !seen.insert(table) {
                report.error(format!(
                    "an L1 entry leads to {table:#x}, where no table of its own is"
                ));
                continue;
            }
            for word in self.l2_words(table)? {
                let found = self.layout.decode(word);
                if let Entry::Data { host, .. } | Entry::Zero { host: Some(host) } = found
                    && !host.is_multiple_of(census.size)
                {
                    report.error(format!("a cluster at {host:#x} is not aligned"));
                    continue;
                }
                if active {
                    report.allocated += u64::from(found != Entry::Hole);
                    report.compressed += u64::from(matches!(found, Entry::Compressed { .. }));
                }
                if let Some((first, count)) = self.layout.holds(found) {
                    census.add(report, first, count, "a cluster");
                }
            }
        }
        Ok(())
    }

    fn count_bitmaps(&self, census: &mut Census, report: &mut CheckReport) -> io::Result<()> {
        let Some(place) = self.bitmaps else {
            return Ok(());
        };
        let directory = self.bitmap_directory()?;
        census.add_bytes(report, place.offset, place.len, "the bitmap directory");
        for (listed, _) in directory {
            let table = self.bitmap_table(&listed)?;
            let len = table.len() as u64 * 8;
            census.add_bytes(report, listed.table, len, "a bitmap's table");
            for entry in table {
                if let Piece::At(offset) = Piece::decode(entry) {
                    census.add(report, offset / census.size, 1, "a bitmap");
                }
            }
        }
        Ok(())
    }
}

impl Qcow2Disk {
    /// Compares the image's counts with what its tables point to.
    ///
    /// # Errors
    /// When the image is too large to be checked, damaged so that nothing can be said, or the host
    /// cannot read or write.
    pub fn check(&self, repair: Repair) -> io::Result<CheckReport> {
        if repair != Repair::Nothing {
            self.check_write(0, 0)?;
        }
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if !self.read_only {
            tables.flush()?;
        }
        let done = tables.check(repair);
        if repair == Repair::Nothing {
            return done;
        }
        tables.give_up_unless(done)
    }
}
