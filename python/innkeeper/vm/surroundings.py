"""What commands in a guest find. A module of its own: `inn exec` needs no more of an order."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What commands in a guest find where nobody says something else: variables as NAME=VALUE, a
    directory and USER[:GROUP]. Empty ones are the agent's.
    """

    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""

    @property
    def variables(self) -> dict[str, str]:
        return {name: value for name, _, value in (text.partition("=") for text in self.env)}
