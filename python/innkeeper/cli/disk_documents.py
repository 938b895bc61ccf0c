"""What `inn disk` prints as JSON."""

from pathlib import Path

from innkeeper.services.disks import DiskInfo, DiskReport, DiskSnapshot


def info_document(path: Path, info: DiskInfo) -> dict[str, object]:
    document: dict[str, object] = {
        "path": str(path),
        "format": info.format,
        "size": info.size,
        "allocated": info.allocated,
        "file_size": info.file_size,
    }
    if info.cluster_size is not None:
        document |= {
            "version": info.version,
            "cluster_size": info.cluster_size,
            "lazy_refcounts": info.lazy_refcounts,
            "compression": "zstd" if info.zstd else "zlib",
            "was_open": info.was_open,
            "backing": info.backing,
            "backing_format": info.backing_format,
            "snapshots": [snapshot_document(snapshot) for snapshot in info.snapshots],
        }
    return document


def snapshot_document(snapshot: DiskSnapshot) -> dict[str, object]:
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "date": snapshot.date,
        "memory": snapshot.memory,
        "size": snapshot.size,
    }


def check_document(path: Path, report: DiskReport) -> dict[str, object]:
    return {
        "path": str(path),
        "errors": report.errors,
        "leaks": report.leaks,
        "repaired": report.repaired,
        "clusters": report.clusters,
        "allocated": report.allocated,
        "compressed": report.compressed,
        "was_open": report.was_open,
        "findings": report.findings,
    }
