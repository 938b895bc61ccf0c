"""A file system that is only thought of: what layers make of one another.

Paths are resolved as a kernel would whose root this is: by links, of which none leads out, and `..`
stays at the root.
Spec: OCI Image Format Specification, "Image Layer Filesystem Changeset".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from innkeeper.errors import InvalidInput

_MOST_LINKS: Final = 40
_MOST_NODES: Final = 1_000_000
# Characters of all names, links and extended attributes together.
_MOST_TEXT: Final = 256 << 20
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 4096


class Kind(Enum):
    DIRECTORY = auto()
    FILE = auto()
    LINK = auto()
    FIFO = auto()


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """`layer` is the last that said something of it. A file's content is `size` bytes at `at` of
    whatever holds all of them; one node with several names is a file with hard links.
    """

    kind: Kind
    layer: int
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    modified: float = 0.0
    xattrs: dict[str, str] = field(default_factory=dict)
    target: str = ""
    at: int = 0
    size: int = 0
    children: dict[str, "Node"] = field(default_factory=dict)


class Tree:
    def __init__(self) -> None:
        self.root = Node(kind=Kind.DIRECTORY, layer=-1)
        self.count = 1
        self._text = 0

    def put(self, path: str, node: Node) -> None:
        """Makes `path` be `node`: instead of what was there, except that directories stay with what
        is in them.

        Raises:
            InvalidInput: for a path that cannot be.
        """
        *above, name = parts(path) or [""]
        if not name:
            self._put_root(path, node)
            return
        if len(node.target) > _LONGEST_PATH:
            raise InvalidInput(f"a layer has a link that no file system can have: {path!r}")
        self._text += len(path) + len(node.target) + sum(map(len, node.xattrs.values()))
        if self._text > _MOST_TEXT:
            raise InvalidInput("the image has more names and attributes than any image has")
        parent = self._directory(above, node.layer)
        old = parent.children.get(name)
        if old is not None and old.kind is Kind.DIRECTORY and node.kind is Kind.DIRECTORY:
            node.children = old.children
        elif old is None:
            self.count += 1
            if self.count > _MOST_NODES:
                raise InvalidInput(f"the image has more than {_MOST_NODES} files")
        parent.children[name] = node

    def find(self, path: str) -> Node | None:
        """What is there, without following a link at the end."""
        *above, name = parts(path) or [""]
        directory = self._walk(above)
        if not name:
            return self.root
        return None if directory is None else directory.children.get(name)

    def directory(self, path: str) -> Node | None:
        """The directory that `path` leads to, by whatever links."""
        return self._walk(parts(path))

    def make_directory(self, path: str, layer: int) -> Node:
        return self._directory(parts(path), layer)

    def hide(self, path: str, layer: int) -> None:
        """What a whiteout of `layer` does: nothing that lower layers had there is there."""
        *above, name = parts(path)
        parent = self._walk(above)
        if parent is None or name not in parent.children:
            return
        self._prune(parent, name, layer)

    def hide_children(self, path: str, layer: int) -> None:
        """What an opaque whiteout does: of what is in that directory, only this layer's is left."""
        found = self._walk(parts(path))
        if found is not None:
            for name in list(found.children):
                self._prune(found, name, layer)

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Every path and its node, directories before what is in them; without the root."""
        pending = [("", self.root)]
        while pending:
            path, node = pending.pop()
            if node is not self.root:
                yield path, node
            below = sorted(node.children.items(), reverse=True)
            pending += [(f"{path}/{name}" if path else name, child) for name, child in below]

    def _put_root(self, path: str, node: Node) -> None:
        if node.kind is not Kind.DIRECTORY:
            raise InvalidInput(f"{path!r} of a layer would be the root directory")
        node.children = self.root.children
        self.root = node

    def _prune(self, parent: Node, name: str, layer: int) -> None:
        """Takes away what is older than `layer`, and has nothing in it that is not."""
        pending = [(parent, name, False)]
        while pending:
            above, each, seen = pending.pop()
            node = above.children[each]
            if not seen and node.children:
                pending.append((above, each, True))
                pending += [(node, child, False) for child in node.children]
            elif not node.children and node.layer < layer:
                del above.children[each]

    def _directory(self, names: list[str], layer: int) -> Node:
        """The directory of that path, made where it is missing."""
        found = self._walk(names, layer)
        if found is None:
            raise InvalidInput(
                f"a layer has something below /{'/'.join(names)}, which is no directory"
            )
        return found

    def _walk(self, names: list[str], make: int | None = None) -> Node | None:
        """With `make`, a layer, what is missing is made."""
        trail, lengths, pending, links = [self.root], [0], list(reversed(names)), 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                trail, lengths = trail[:-1] or trail, lengths[:-1] or lengths
                continue
            node = trail[-1].children.get(name)
            if node is None and make is not None:
                self._check_room(lengths[-1] + 1 + len(name), name)
                node = Node(kind=Kind.DIRECTORY, layer=make)
                trail[-1].children[name] = node
                self.count += 1
            if node is not None and node.kind is Kind.LINK:
                links += 1
                if links > _MOST_LINKS:
                    return None
                if node.target.startswith("/"):
                    trail, lengths = trail[:1], lengths[:1]
                pending += reversed(node.target.split("/"))
            elif node is None or node.kind is not Kind.DIRECTORY:
                return None
            else:
                trail.append(node)
                lengths.append(lengths[-1] + 1 + len(name))
        if make is not None and lengths[-1] > _LONGEST_PATH:
            raise InvalidInput("a layer's links lead to a path that no file can have")
        return trail[-1]

    def _check_room(self, length: int, name: str) -> None:
        """
        Raises:
            InvalidInput: when there cannot be another directory, whose path has that length.
        """
        if length > _LONGEST_PATH or len(name) > _LONGEST_NAME:
            raise InvalidInput("a layer's links lead to a path that no file can have")
        if self.count >= _MOST_NODES:
            raise InvalidInput(f"the image has more than {_MOST_NODES} files")


def parts(path: str) -> list[str]:
    """
    Raises:
        InvalidInput: for a path that would lead out, or that no file system can have.
    """
    found = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in found:
        raise InvalidInput(f"a layer has the path {path!r}, which leads out of its image")
    longest = max((len(part.encode(errors="surrogateescape")) for part in found), default=0)
    if len(path) > _LONGEST_PATH or longest > _LONGEST_NAME or "\0" in path:
        raise InvalidInput(f"a layer has a path that no file can have: {path[:60]!r}...")
    return found
