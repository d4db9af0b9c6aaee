"""The one error a user of the lab sees."""


class LabError(Exception):
    """Something the user can act on: names the thing, its value and the remedy, in one line."""

    def __init__(self, thing: str, value: object = "", remedy: str = "") -> None:
        """Join the parts; `value` and `remedy` may be empty when there is nothing to say."""
        self.thing = thing
        self.value = " ".join(str(value).split())
        self.remedy = remedy
        line = thing if self.value == "" else f"{thing}: {self.value}"
        super().__init__(f"{line}; {remedy}" if remedy else line)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or a closed terminal's SIGHUP arrived.

    No `Exception`: nothing between the signal and the clean-up may swallow it. A KeyboardInterrupt, so that
    `subprocess` gives a child that was interrupted, too, a moment for its own end. `number`: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
