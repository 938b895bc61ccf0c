import pytest

from innkeeper.errors import ImageBuildFailed
from innkeeper.images.apt import Archive, of_one_release, proxy_settings


def test_only_proxies_that_a_guest_can_reach_are_taken_over() -> None:
    dump = """APT::Architecture amd64
Acquire::http::Proxy http://proxy.example:3142
Acquire::https::Proxy::deb.example DIRECT
Acquire::http::Proxy::other.example http://me:secret@127.0.0.1:8080/
Acquire::https::Proxy http://localhost:3128
Acquire::http::Proxy-Auto-Detect /usr/bin/find-one
Acquire::http::Proxy
Acquire::http::Timeout 30
"""
    assert proxy_settings(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3142";\n'
        'Acquire::https::Proxy::deb.example "DIRECT";\n'
    )


def test_a_host_without_proxies_changes_nothing() -> None:
    assert proxy_settings("APT::Architecture amd64\n") == ""


# As a host may name them, updates first.
_SECURITY = Archive("http://mirror/security", "bookworm-security", "main", "12")
_BOOKWORM = Archive("http://mirror/debian", "bookworm", "main", "12.15")
_CONTRIB = Archive("http://mirror/debian", "bookworm", "contrib", "12.15")
_TRIXIE = Archive("http://mirror/debian", "trixie", "main", "13.8")
_SID = Archive("http://mirror/debian", "sid", "main")


def test_the_first_release_is_taken_with_its_updates_unless_another_is_said() -> None:
    archives = [_SECURITY, _BOOKWORM, _CONTRIB, _TRIXIE]
    assert of_one_release(archives, None) == [_BOOKWORM, _SECURITY]
    assert of_one_release(archives, "12") == [_BOOKWORM, _SECURITY]
    assert of_one_release(archives, "13") == [_TRIXIE]


def test_what_has_no_number_yet_stands_for_one_that_nothing_else_has() -> None:
    assert of_one_release([_SID, _TRIXIE], "13") == [_TRIXIE]
    assert of_one_release([_SID, _TRIXIE], "14") == [_SID]
    assert of_one_release([_SID], None)[0].release == ""


def test_a_release_that_the_host_has_no_mirror_of_is_said() -> None:
    with pytest.raises(ImageBuildFailed, match="no mirror of Debian 13, but of 12"):
        of_one_release([_SECURITY, _BOOKWORM], "13")
    with pytest.raises(ImageBuildFailed, match="knows no Debian mirror"):
        of_one_release([_SECURITY], None)
