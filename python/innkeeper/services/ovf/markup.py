"""XML from outside, as a tree without surprises: no entities, no document types, and only so large.

Spec: W3C, "Extensible Markup Language (XML) 1.0".
"""

from typing import Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from innkeeper.errors import InvalidInput

LARGEST: Final = 4 << 20
_MOST_ELEMENTS: Final = 100_000
_DEEPEST: Final = 64


def parse(data: bytes, what: str) -> Element:
    """Names without namespaces, of elements and attributes: versions of the format differ in them.

    Raises:
        InvalidInput: when it is none, or wants to be more than a description.
    """
    if len(data) > LARGEST:
        raise InvalidInput(f"{what} is larger than any description of a machine")
    builder = TreeBuilder()
    depth = count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > _DEEPEST or count > _MOST_ELEMENTS:
            raise InvalidInput(f"{what} has more in it than any description of a machine")
        builder.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_local(name))

    def refuse(*_: object) -> None:
        raise InvalidInput(f"{what} declares a document type, which could name other files")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)  # noqa: FBT003 - the only way to say that this is all
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise InvalidInput(f"{what} is no XML: {error}") from error
    return builder.close()


def _local(name: str) -> str:
    return name.rpartition(" ")[2]
