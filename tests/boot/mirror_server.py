"""A server in front of a mirror of Debian, and a host whose apt takes packages from there."""

import contextlib
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from tests.boot.mirrors import CHUNK, Completed, Upstream, facts, field_of, stanzas, text_of


@contextlib.contextmanager
def served(upstream: Upstream, files: dict[str, bytes]) -> Iterator[int]:
    """`upstream` with `files` in the place of its own, at `/debian` of the host's loopback, on the
    port that is yielded.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(self.path).removeprefix("/debian/")
            if (own := files.get(path)) is not None:
                self._answer(len(own))
                self.wfile.write(own)
                return
            try:
                with upstream.open(path) as source:
                    self._answer(int(source.headers["Content-Length"]))  # type: ignore[attr-defined]
                    while data := source.read(CHUNK):
                        self.wfile.write(data)
            except urllib.error.HTTPError as error:
                self.send_response(error.code)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                # Whoever asked sees that it is not whole, and asks again.
                self.close_connection = True

        def _answer(self, size: int) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def host_of(completed: Completed, codename: str, port: int, directory: Path) -> Path:
    """A configuration of apt, that of a host with the mirror at `port` of its loopback and the
    installer's package that goes with it.
    """
    package = completed.installer
    control = stanzas(field_of(package).encode())[0] | facts(package.read_bytes())
    repository = package.parent
    (repository / "Packages").write_text(text_of([control | {"Filename": f"./{package.name}"}]))
    sources, preferences = directory / "sources.list", directory / "preferences"
    sources.write_text(
        f"deb http://127.0.0.1:{port}/debian {codename} main\n"
        f"deb [trusted=yes] file:{repository} ./\n"
    )
    # The mirror itself has a newer one.
    preferences.write_text(
        f"Package: {control['Package']}\nPin: version {control['Version']}\nPin-Priority: 1001\n"
    )
    configuration = directory / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "{sources}";\n'
        'Dir::Etc::sourceparts "-";\n'
        f'Dir::Etc::preferences "{preferences}";\n'
    )
    return configuration
