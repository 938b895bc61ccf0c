"""Names of the files of saved guests."""

from innkeeper.vm.detached import savings


def test_layers_are_counted_as_far_as_both_files_are_there() -> None:
    names = ["state", "pages.0", "index.0", "pages.1", "index.1", "pages.2", "index.3", "pages.01"]
    assert savings.depth(names) == 2
    assert savings.depth([]) == 0


def test_layers_of_disks_are_in_order() -> None:
    names = ["disk0.10.qcow2", "disk0.2.qcow2", "disk1.0.raw", "disk0.top.qcow2", "disk9.0.vdi"]
    assert savings.disks(names) == {0: ["disk0.2.qcow2", "disk0.10.qcow2"], 1: ["disk1.0.raw"]}
    assert savings.tops(names) == {0: "disk0.top.qcow2"}
    assert savings.disk(3, 1, "raw") == "disk3.1.raw"


def test_disks_are_no_memory() -> None:
    assert savings.is_memory(savings.STATE)
    assert savings.is_memory(savings.pages(3))
    assert not savings.is_memory(savings.disk(0, 0, "qcow2"))
