"""A client's session, without a socket and without a guest."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.vm.qmp import schema
from innkeeper.vm.qmp.session import CommandError, Session

VERSION = {"qemu": {"major": 0, "minor": 1, "micro": 0}, "package": "x"}


class Play:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.called: list[str] = []
        self.hung_up = False
        handlers = {name: self.handler(name) for name in schema.COMMANDS}
        self.session = Session(handlers, VERSION, self.send, self.hang_up)

    def handler(self, name: str) -> Any:  # noqa: ANN401 - a handler
        def handle(_arguments: Mapping[str, object]) -> object:
            self.called.append(name)
            if name == "system_reset":
                raise CommandError("it cannot")
            if name == "query-chardev":
                raise KeyError("nobody thought of that")
            return [name] if name == "query-block" else None

        return handle

    def send(self, data: bytes) -> None:
        assert data.endswith(b"\r\n")
        self.sent.append(json.loads(data))

    def hang_up(self) -> None:
        self.hung_up = True

    def say(self, message: object) -> dict[str, Any]:
        self.session.receive(json.dumps(message).encode())
        return self.sent[-1]


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def ready(play: Play) -> Play:
    assert play.say({"execute": "qmp_capabilities"}) == {"return": {}}
    return play


def test_it_greets(play: Play) -> None:
    assert play.sent == [{"QMP": {"version": VERSION, "capabilities": []}}]


def test_nothing_works_before_the_negotiation(play: Play) -> None:
    answer = play.say({"execute": "query-block"})
    assert answer["error"]["class"] == "CommandNotFound"
    assert "qmp_capabilities" in answer["error"]["desc"]
    assert play.called == []


def test_negotiating_twice_is_refused(ready: Play) -> None:
    assert ready.say({"execute": "qmp_capabilities"})["error"]["class"] == "CommandNotFound"


def test_capabilities_that_were_not_offered_are_refused(play: Play) -> None:
    answer = play.say({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})
    assert answer["error"]["desc"] == "Parameter 'enable[0]' does not accept value 'oob'"
    assert not play.session.negotiated


@pytest.mark.parametrize("mark", [1, "x", None, [1, {"a": []}]])
def test_an_id_comes_back_as_it_is(ready: Play, mark: object) -> None:
    assert ready.say({"execute": "stop", "id": mark}) == {"return": {}, "id": mark}
    assert ready.say({"execute": "nosuch", "id": mark})["id"] == mark


def test_a_command_answers_or_says_why_not(ready: Play) -> None:
    assert ready.say({"execute": "query-block"}) == {"return": ["query-block"]}
    error = {"class": "GenericError", "desc": "it cannot"}
    assert ready.say({"execute": "system_reset"}) == {"error": error}


def test_a_mistake_of_ours_is_told_and_no_end_of_the_guest(
    ready: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ready.say({"execute": "query-chardev", "id": 1})
    assert answer["id"] == 1
    assert answer["error"]["class"] == "GenericError"
    assert "query-chardev failed by a mistake of Innkeeper's: KeyError" in answer["error"]["desc"]
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert "in handle" in told
    assert ready.say({"execute": "query-block"}) == {"return": ["query-block"]}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ([], "must be a JSON object"),
        ({}, "lacks member 'execute'"),
        ({"execute": 1}, "member 'execute' must be a string"),
        ({"execute": "stop", "arguments": []}, "member 'arguments' must be an object"),
        ({"execute": "stop", "more": 1}, "member 'more' is unexpected"),
        ({"execute": "stop", "arguments": {"a": 1}}, "Parameter 'a' is unexpected"),
        ({"execute": "x-resize-console", "arguments": {"rows": 1}}, "'columns' is missing"),
        (
            {"execute": "x-resize-console", "arguments": {"rows": True, "columns": 1}},
            "Invalid parameter type for 'rows', expected: integer",
        ),
        ({"execute": "rm -rf"}, "The command rm -rf has not been found"),
    ],
)
def test_mistakes_are_sentences(ready: Play, message: object, words: str) -> None:
    assert words in ready.say(message)["error"]["desc"]
    assert ready.called == []
    assert not ready.hung_up


def test_nonsense_is_answered_and_too_much_of_it_is_the_end(ready: Play) -> None:
    ready.session.receive(b"GET / HTTP/1.1\n")
    assert "JSON parse error" in ready.sent[-1]["error"]["desc"]
    assert ready.say({"execute": "stop"}) == {"return": {}}
    ready.session.receive(b"[" * 1000)
    assert ready.hung_up


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "execute": st.sampled_from(sorted(schema.COMMANDS)) | json_values,
        "arguments": st.dictionaries(
            st.sampled_from(["enable", "columns", "rows"]) | st.text(), json_values
        )
        | json_values,
        "id": json_values,
    },
)


# Whatever comes, each request has one answer, and none is a traceback.
@settings(deadline=None)
@given(st.lists(requests | json_values.filter(lambda value: isinstance(value, list | dict))))
def test_any_requests_at_all(messages: list[object]) -> None:
    play = Play()
    for message in messages:
        play.session.receive(json.dumps(message).encode())
    assert len(play.sent) == 1 + len(messages) or play.hung_up
    for answer in play.sent[1:]:
        assert ("return" in answer) != ("error" in answer)


def test_the_schema_describes_itself() -> None:
    told = schema.introspect()
    names = [entity["name"] for entity in told]
    assert len(names) == len(set(names))
    used = {entity[key] for entity in told for key in ("arg-type", "ret-type") if key in entity}
    used |= {entity["element-type"] for entity in told if "element-type" in entity}
    used |= {
        member["type"]
        for entity in told
        for member in entity.get("members", ())
        if "type" in member
    }
    assert used <= set(names)
    commands = {entity["name"] for entity in told if entity["meta-type"] == "command"}
    assert commands == set(schema.COMMANDS)
