"""Only `vm` and `devices` import the Rust core; the linter cannot see a compiled module."""

import ast
from pathlib import Path

import innkeeper

PACKAGE = Path(innkeeper.__file__).parent
ALLOWED = {"vm", "devices"}


def imports_core(source: str) -> bool:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if any("innkeeper._core" in n.name for n in names):
                return True
            case ast.ImportFrom(module="innkeeper", names=names) if any(
                n.name == "_core" for n in names
            ):
                return True
            case ast.ImportFrom(module="innkeeper._core"):
                return True
    return False


def test_only_vm_and_devices_import_the_core() -> None:
    offenders = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if imports_core(file.read_text()) and file.relative_to(PACKAGE).parts[0] not in ALLOWED
    }
    assert offenders == set()


def test_the_check_sees_every_form_of_import() -> None:
    assert imports_core("import innkeeper._core")
    assert imports_core("from innkeeper import _core")
    assert imports_core("from innkeeper._core import Machine")
    assert not imports_core("from innkeeper import errors")
