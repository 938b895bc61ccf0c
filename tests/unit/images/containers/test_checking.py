"""What is no image is refused before anything is built for it."""

from pathlib import Path

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.images import Store, catalog, ensure


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_no_kernel_is_built_for_what_is_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def build(*_: object) -> None:
        raise AssertionError("it builds")

    monkeypatch.setattr(catalog, "build", build)
    (tmp_path / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    with pytest.raises(InvalidInput, match="passwd"):
        ensure(Store(tmp_path / "home"), f"{kind}:{tmp_path / 'passwd'}", lambda *_: None)
