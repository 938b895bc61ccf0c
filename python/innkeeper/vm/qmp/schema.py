"""Which commands and events there are, written as QAPI schemas are, and what is derived from that:
the check of a command's arguments, and introspection.

A type is a name, or a list of one name; `*member` may be left out.
Spec: QEMU documentation, "How to use the QAPI code generator" and "Client JSON Protocol
introspection".
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Type = str | list[str]
Members = Mapping[str, Type]

ENUMS: Final[dict[str, tuple[str, ...]]] = {
    "BlockDeviceIoStatus": ("ok", "failed", "nospace"),
    "BlockErrorAction": ("ignore", "report", "stop"),
    "ImageFormat": ("png", "ppm"),
    "MemoryDeviceInfoKind": ("virtio-mem",),
    "IoOperationType": ("read", "write"),
    "MigrationStatus": (
        "none",
        "active",
        "pre-switchover",
        "device",
        # Ours: the other host was told to go on with the guest; and nothing was heard since.
        "handed-over",
        "in-doubt",
        "postcopy-active",
        "postcopy-paused",
        "postcopy-recover",
        "completed",
        "failed",
        "cancelled",
    ),
    "QMPCapability": (),
    "RunState": ("running", "paused", "io-error", "shutdown", "prelaunch", "guest-panicked"),
    "ShutdownCause": (
        "none",
        "host-qmp-quit",
        "host-qmp-system-reset",
        "host-signal",
        "host-error",
        "guest-shutdown",
        "guest-reset",
        "guest-panic",
    ),
    "SysEmuTarget": ("x86_64",),
}
OBJECTS: Final[dict[str, Members]] = {
    "BalloonInfo": {"actual": "int"},
    "BlockDeviceInfo": {"file": "str", "ro": "bool", "drv": "str", "*backing_file": "str"},
    "BlockInfo": {
        "device": "str",
        "type": "str",
        "removable": "bool",
        "locked": "bool",
        "*tray_open": "bool",
        "*io-status": "BlockDeviceIoStatus",
        "*inserted": "BlockDeviceInfo",
        "*qdev": "str",
    },
    "BlockStats": {"*device": "str", "*qdev": "str", "stats": "BlockDeviceStats"},
    "BlockDeviceStats": {
        "rd_bytes": "int",
        "wr_bytes": "int",
        "unmap_bytes": "int",
        "rd_operations": "int",
        "wr_operations": "int",
        "flush_operations": "int",
        "unmap_operations": "int",
        "rd_total_time_ns": "int",
        "wr_total_time_ns": "int",
        "flush_total_time_ns": "int",
        "unmap_total_time_ns": "int",
        "failed_rd_operations": "int",
        "failed_wr_operations": "int",
        "failed_flush_operations": "int",
        "failed_unmap_operations": "int",
        "invalid_rd_operations": "int",
        "invalid_wr_operations": "int",
        "invalid_flush_operations": "int",
        "invalid_unmap_operations": "int",
        "rd_merged": "int",
        "wr_merged": "int",
        "unmap_merged": "int",
        "wr_highest_offset": "int",
        "account_invalid": "bool",
        "account_failed": "bool",
        "timed_stats": ["any"],
    },
    "ChardevInfo": {"label": "str", "filename": "str", "frontend-open": "bool"},
    "CommandInfo": {"name": "str"},
    "CpuInfoFast": {
        "cpu-index": "int",
        "qom-path": "str",
        "thread-id": "int",
        "*props": "CpuInstanceProperties",
        "target": "SysEmuTarget",
    },
    "CpuInstanceProperties": {"*core-id": "int"},
    "HotpluggableCPU": {
        "type": "str",
        "vcpus-count": "int",
        "props": "CpuInstanceProperties",
        "*qom-path": "str",
    },
    "Limits": {
        "cpu-permille": "int",
        "disk-bytes": "int",
        "disk-operations": "int",
        "network-bytes": "int",
        "network-operations": "int",
    },
    "MemoryDeviceInfo": {"type": "MemoryDeviceInfoKind", "data": "VirtioMEMDeviceInfo"},
    "MemoryInfo": {"base-memory": "int", "*plugged-memory": "int"},
    "AddfdInfo": {"fdset-id": "int", "fd": "int"},
    "FdsetFdInfo": {"fd": "int", "*opaque": "str"},
    "FdsetInfo": {"fdset-id": "int", "fds": ["FdsetFdInfo"]},
    # QEMU's capabilities are an enumeration of many; here any text, of which few are known.
    "MigrationCapabilityStatus": {"capability": "str", "state": "bool"},
    "MigrationInfo": {
        "*status": "MigrationStatus",
        "*ram": "MigrationStats",
        "*total-time": "int",
        "*downtime": "int",
        "*cpu-throttle-percentage": "int",
        "*error-desc": "str",
        # Ours: bytes of a guest that came from another host, and that have not.
        "*x-missing": "int",
    },
    "MigrationParameters": {"*downtime-limit": "int"},
    "MigrationStats": {
        "transferred": "int",
        "remaining": "int",
        "total": "int",
        "duplicate": "int",
        "skipped": "int",
        "normal": "int",
        "normal-bytes": "int",
        "dirty-pages-rate": "int",
        "dirty-sync-count": "int",
        "postcopy-requests": "int",
        "page-size": "int",
    },
    "NameInfo": {"*name": "str"},
    "StatusInfo": {"running": "bool", "status": "RunState"},
    "UuidInfo": {"UUID": "str"},
    "VirtioMEMDeviceInfo": {
        "*id": "str",
        "memaddr": "int",
        "requested-size": "int",
        "size": "int",
        "max-size": "int",
        "block-size": "int",
        "node": "int",
        "memdev": "str",
    },
    "VersionInfo": {"qemu": "VersionTriple", "package": "str"},
    "VersionTriple": {"major": "int", "minor": "int", "micro": "int"},
}
# Arguments, and what is returned.
COMMANDS: Final[dict[str, tuple[Members, Type]]] = {
    "add-fd": ({"*fdset-id": "int", "*opaque": "str"}, "AddfdInfo"),
    "balloon": ({"value": "int"}, "q_empty"),
    # `BlockdevOptions`, a union in QEMU: as far as there is something to choose.
    "blockdev-add": (
        {
            "driver": "str",
            "node-name": "str",
            "*read-only": "bool",
            "*file": "any",
            "*filename": "str",
        },
        "q_empty",
    ),
    "blockdev-change-medium": (
        {
            "*device": "str",
            "*id": "str",
            "filename": "str",
            "*format": "str",
            "*force": "bool",
            "*read-only-mode": "str",
        },
        "q_empty",
    ),
    "blockdev-close-tray": ({"*device": "str", "*id": "str"}, "q_empty"),
    "blockdev-del": ({"node-name": "str"}, "q_empty"),
    "blockdev-insert-medium": ({"id": "str", "node-name": "str"}, "q_empty"),
    "blockdev-open-tray": ({"*device": "str", "*id": "str", "*force": "bool"}, "q_empty"),
    "blockdev-remove-medium": ({"id": "str"}, "q_empty"),
    "device_add": (
        {
            "driver": "str",
            "*bus": "str",
            "*id": "str",
            "*addr": "any",
            "*drive": "str",
            "*mac": "str",
            "*netdev": "str",
            "*serial": "str",
        },
        "q_empty",
    ),
    "device_del": ({"id": "str"}, "q_empty"),
    "eject": ({"*device": "str", "*id": "str", "*force": "bool"}, "q_empty"),
    "closefd": ({"fdname": "str"}, "q_empty"),
    "cont": ({}, "q_empty"),
    "getfd": ({"fdname": "str"}, "q_empty"),
    # `InputEvent` and `KeyValue`, unions in QEMU, are told as "any".
    "input-send-event": ({"*device": "str", "*head": "int", "events": ["any"]}, "q_empty"),
    "migrate": ({"uri": "str", "*resume": "bool"}, "q_empty"),
    "migrate-continue": ({"state": "MigrationStatus"}, "q_empty"),
    "migrate-recover": ({"uri": "str"}, "q_empty"),
    "migrate-set-capabilities": ({"capabilities": ["MigrationCapabilityStatus"]}, "q_empty"),
    "migrate-set-parameters": ({"*downtime-limit": "int"}, "q_empty"),
    "migrate_cancel": ({}, "q_empty"),
    "netdev_add": ({"type": "str", "id": "str", "*restrict": "bool"}, "q_empty"),
    "netdev_del": ({"id": "str"}, "q_empty"),
    "qmp_capabilities": ({"*enable": ["QMPCapability"]}, "q_empty"),
    "query-balloon": ({}, "BalloonInfo"),
    "query-block": ({}, ["BlockInfo"]),
    "query-blockstats": ({}, ["BlockStats"]),
    "query-chardev": ({}, ["ChardevInfo"]),
    "query-commands": ({}, ["CommandInfo"]),
    "query-cpus-fast": ({}, ["CpuInfoFast"]),
    "query-fdsets": ({}, ["FdsetInfo"]),
    "query-hotpluggable-cpus": ({}, ["HotpluggableCPU"]),
    "query-memory-devices": ({}, ["MemoryDeviceInfo"]),
    "query-memory-size-summary": ({}, "MemoryInfo"),
    "query-migrate": ({}, "MigrationInfo"),
    "query-migrate-capabilities": ({}, ["MigrationCapabilityStatus"]),
    "query-migrate-parameters": ({}, "MigrationParameters"),
    "query-name": ({}, "NameInfo"),
    # What `SchemaInfo` is in QEMU, a union, is told as "any".
    "query-qmp-schema": ({}, ["any"]),
    "query-status": ({}, "StatusInfo"),
    "query-uuid": ({}, "UuidInfo"),
    "query-version": ({}, "VersionInfo"),
    "quit": ({}, "q_empty"),
    "remove-fd": ({"fdset-id": "int", "*fd": "int"}, "q_empty"),
    "screendump": (
        {"filename": "str", "*device": "str", "*head": "int", "*format": "ImageFormat"},
        "q_empty",
    ),
    "send-key": ({"keys": ["any"], "*hold-time": "int"}, "q_empty"),
    "stop": ({}, "q_empty"),
    "system_powerdown": ({}, "q_empty"),
    "system_reset": ({}, "q_empty"),
    # Ours: what a second may bring; 0 is without bounds.
    "x-query-limits": ({}, "Limits"),
    "x-set-limits": (
        {
            "*cpu-permille": "int",
            "*disk-bytes": "int",
            "*disk-operations": "int",
            "*network-bytes": "int",
            "*network-operations": "int",
        },
        "q_empty",
    ),
    # Ours: docs/guides/network.md, "Rules".
    "x-query-firewall": ({}, "any"),
    "x-set-firewall": ({"*in": "str", "*out": "str", "*rules": ["any"]}, "q_empty"),
    # Ours: disks and network cards that come and go, as inn disk and inn network have them.
    "x-plug-disk": ({"disk": "any", "number": "int", "files": ["any"]}, "any"),
    "x-plug-network": ({"network": "any"}, "any"),
    "x-query-plugged": ({}, "any"),
    # Ours: what inn media asks for.
    "x-insert-medium": ({"id": "str", "path": "str", "fdset-id": "int"}, "q_empty"),
    "x-query-media": ({}, "any"),
    # Ours: docs/guides/memory-of-a-guest.md.
    "x-query-memory": ({}, "any"),
    "x-set-cpus": ({"count": "int"}, "q_empty"),
    "x-set-memory": ({"size": "int"}, "q_empty"),
    # Ours: what inn snapshot and inn fork ask for.
    "x-query-record": ({}, "any"),
    "x-record": (
        {
            "name": "str",
            "parent": "str",
            "keep": "bool",
            "*checkpoints": ["any"],
            "*code": "bool",
            "*complete": "bool",
        },
        "any",
    ),
    # Ours: which disks go along, and where a guest is that was in doubt.
    "x-migrate-disks": ({"copied": ["int"]}, "q_empty"),
    "x-migrate-settle": ({"here": "bool"}, "q_empty"),
    # Ours: text as an American keyboard has it.
    "x-type": ({"text": "str"}, "any"),
    # Ours: docs/reference/statistics.md.
    "x-query-statistics": ({}, "any"),
    "x-query-traffic": ({}, "any"),
    # Ours: the console's size in characters.
    "x-resize-console": ({"columns": "int", "rows": "int"}, "q_empty"),
}
EVENTS: Final[dict[str, Members]] = {
    "BALLOON_CHANGE": {"actual": "int"},
    "BLOCK_IO_ERROR": {
        "qom-path": "str",
        "device": "str",
        "operation": "IoOperationType",
        "action": "BlockErrorAction",
        "*nospace": "bool",
        "reason": "str",
    },
    "DEVICE_DELETED": {"*device": "str", "path": "str"},
    "DEVICE_TRAY_MOVED": {"device": "str", "id": "str", "tray-open": "bool"},
    "GUEST_PANICKED": {"action": "str"},
    "MEMORY_DEVICE_SIZE_CHANGE": {"*id": "str", "size": "int", "qom-path": "str"},
    "MIGRATION": {"status": "MigrationStatus"},
    "POWERDOWN": {},
    "RESET": {"guest": "bool", "reason": "ShutdownCause"},
    "RESUME": {},
    "SHUTDOWN": {"guest": "bool", "reason": "ShutdownCause"},
    "STOP": {},
}
_BUILT_IN: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "any": ("value", (object,)),
    "bool": ("boolean", (bool,)),
    "int": ("int", (int,)),
    "str": ("string", (str,)),
}


class Mismatch(Exception):
    """Arguments that are not the command's, in words."""


def check(command: str, arguments: Mapping[str, object]) -> None:
    """
    Raises:
        Mismatch: as QEMU words it.
    """
    members, _ = COMMANDS[command]
    _check_members(members, arguments, "")


def _check_members(members: Members, arguments: Mapping[str, object], place: str) -> None:
    known = {name.removeprefix("*"): kind for name, kind in members.items()}
    for name in members:
        if not name.startswith("*") and name not in arguments:
            raise Mismatch(f"Parameter '{place}{name}' is missing")
    for name, value in arguments.items():
        if name not in known:
            raise Mismatch(f"Parameter '{place}{name}' is unexpected")
        _check_value(known[name], value, f"{place}{name}")


def _check_value(kind: Type, value: object, name: str) -> None:
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise Mismatch(f"Invalid parameter type for '{name}', expected: array")
        for index, element in enumerate(value):
            _check_value(kind[0], element, f"{name}[{index}]")
    elif kind in OBJECTS:
        if not isinstance(value, Mapping):
            raise Mismatch(f"Invalid parameter type for '{name}', expected: object")
        _check_members(OBJECTS[kind], value, f"{name}.")
    elif kind in ENUMS:
        if not isinstance(value, str):
            raise Mismatch(f"Invalid parameter type for '{name}', expected: string")
        if value not in ENUMS[kind]:
            raise Mismatch(f"Parameter '{name}' does not accept value '{value}'")
    else:
        said, accepted = _BUILT_IN[kind]
        # True is an int in Python, and in no schema.
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind == "int"):
            shown = "integer" if said == "int" else said
            raise Mismatch(f"Invalid parameter type for '{name}', expected: {shown}")


def introspect() -> list[dict[str, Any]]:
    """What `query-qmp-schema` answers: everything that can be reached from commands and events."""
    found = [*_commands(), *_events(), *_types()]
    return sorted(found, key=lambda entity: (entity["meta-type"], entity["name"]))


def _commands() -> Iterator[dict[str, Any]]:
    for name, (members, returned) in COMMANDS.items():
        yield {
            "name": name,
            "meta-type": "command",
            "arg-type": _argument_type(name, members),
            "ret-type": _name(returned),
        }


def _events() -> Iterator[dict[str, Any]]:
    for name, members in EVENTS.items():
        kind = _argument_type(name, members)
        yield {"name": name, "meta-type": "event", "arg-type": kind}


def _types() -> Iterator[dict[str, Any]]:
    objects: dict[str, Members] = {"q_empty": {}, **OBJECTS}
    arguments = [(name, members) for name, (members, _) in COMMANDS.items()]
    for name, members in (*arguments, *EVENTS.items()):
        objects[_argument_type(name, members)] = members
    arrays = {kind[0] for kind in _all(objects) if isinstance(kind, list)}
    for name, members in objects.items():
        yield {
            "name": name,
            "meta-type": "object",
            "members": [_member(member, kind) for member, kind in members.items()],
        }
    for name in arrays:
        yield {"name": f"[{name}]", "meta-type": "array", "element-type": name}
    for name, values in ENUMS.items():
        members_told = [{"name": value} for value in values]
        yield {"name": name, "meta-type": "enum", "members": members_told, "values": list(values)}
    for name, (json_type, _) in _BUILT_IN.items():
        yield {"name": name, "meta-type": "builtin", "json-type": json_type}


def _all(objects: Mapping[str, Members]) -> Iterator[Type]:
    for members in objects.values():
        yield from members.values()
    for _, returned in COMMANDS.values():
        yield returned


def _argument_type(name: str, members: Members) -> str:
    return f"q_obj_{name}-arg" if members else "q_empty"


def _member(name: str, kind: Type) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name.removeprefix("*"), "type": _name(kind)}
    if name.startswith("*"):
        told["default"] = None
    return told


def _name(kind: Type) -> str:
    return f"[{kind[0]}]" if isinstance(kind, list) else kind
