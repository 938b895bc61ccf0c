from innkeeper.images.apt import proxy_settings


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
