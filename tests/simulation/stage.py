"""What every simulated deployment has: hosts, networks, the coordinator, daemons, and the record of what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from holdfast.adapters.machine import Pulse

from .coordinator import Cluster
from .hosts import Daemon, Host
from .kernel import Act, Group, Kernel
from .network import Network

Event = tuple[float, str, str, tuple[tuple[str, object], ...]]


class HostPulse(Pulse):
    """The agent's own pulse on a simulated clock; a process of the daemon beats it."""

    def __init__(self, clock: Any, interval: float) -> None:
        self._clock = clock
        super().__init__(interval)

    def _now(self) -> float:  # type: ignore[override]
        return float(self._clock.boottime())


class Bench:
    """Where judges sit: the first violation ends the run."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.kernel = stage.kernel
        self.violation: str | None = None

    def violate(self, rule: str, what: str) -> None:
        if self.violation is None:
            self.violation = f"{rule}: {what}"
            self._stage.tell("judge", "VIOLATION", rule=rule, what=what)
            self.kernel.stopped = True


class Stage:
    """`sites`: by host. `members`: the coordinator's. `switched`: hosts that the power switch knows."""

    judge: Bench

    def __init__(
        self,
        kernel: Kernel,
        sites: Mapping[str, str],
        members: Iterable[str],
        witness: str,
        switched: Iterable[str],
        gateways: tuple[str, ...] = (),
    ) -> None:
        self.kernel = kernel
        self.events: list[Event] = []
        self.hosts = {name: Host(kernel, name, site) for name, site in sites.items()}
        self.network = Network((*self.hosts, *gateways), kernel.random)
        self.witness = self.hosts[witness]  # where the power switch answers
        self.mood: dict[str, str] = dict.fromkeys(switched, "works")
        # Who wants to know what is written (scenarios that strike at a certain step).
        self.on_write: Callable[[str, dict[str, Any] | None], None] = lambda key, value: None
        self.cluster = Cluster(kernel, self.network, [self.hosts[m] for m in members])
        self.cluster.on_leader = lambda name: self.tell("coordinator", "leader", host=name)
        self.cluster.state.on_change = self._written
        for host in self.hosts.values():
            host.on_change = self._host_changed
        self._ticks = 0
        self._tools: list[tuple[Host, Group]] = []  # what operators have begun, and where

    # --- for who extends it ------------------------------------------------------------------------------------

    def _written(self, key: str, value: dict[str, Any] | None) -> None:
        raise NotImplementedError

    def _host_changed(self, host: Host, what: str) -> None:
        raise NotImplementedError

    def rewired(self) -> None:
        """The network was cut or mended."""
        self.cluster.look()

    # --- operators ---------------------------------------------------------------------------------------------

    def operator(self, desk: str, name: str, body: Act) -> None:
        """What somebody does by hand on that host: it stands still and dies with it."""
        host = self.hosts[desk]
        if host.acts:
            group = self.kernel.group(f"{desk}/operator")
            self._tools.append((host, group))
            self.kernel.spawn(group, name, body)

    def operator_leaves(self) -> None:
        """In the midst of whatever it is."""
        for _, group in self._tools:
            self.kernel.kill(group)
        self._tools.clear()

    def _tools_follow(self, host: Host, what: str) -> None:
        """`what`: as a host tells it."""
        act = {"off": self.kernel.kill, "paused": self.kernel.halt, "goes on": self.kernel.go_on}.get(what)
        if act is None or not self._tools:
            return
        for group in [g for h, g in self._tools if h is host]:
            act(group)
        if what == "off":
            self._tools = [(h, g) for h, g in self._tools if h is not host]

    # --- records -----------------------------------------------------------------------------------------------

    def tell(self, who: str, event: str, /, **fields: object) -> None:
        self.events.append((self.kernel.now, who, event, tuple(fields.items())))

    def _log(self, who: str) -> Callable[..., None]:
        events, kernel = self.events, self.kernel

        def log(event: str, /, **fields: object) -> None:
            kernel.alive()
            events.append((kernel.now, who, event, tuple(fields.items())))

        return log

    # --- daemons -----------------------------------------------------------------------------------------------

    def _daemon(self, name: str, kind: str, body: Callable[[Host, Group], None]) -> None:
        host = self.hosts[name]
        host.daemons[kind] = Daemon(host, kind, lambda group: body(host, group))

    def _loop(self, host: Host, interval: float, tick: Callable[[], object]) -> None:
        """As daemons.service.run. CLOCK_MONOTONIC stands still in a pause, which changes nothing here."""
        clock = host.clock
        while True:
            start = clock.boottime()
            tick()
            self.kernel.sleep(max(0.0, start + interval - clock.boottime()))

    def _pulse(self, host: Host, group: Group) -> HostPulse:
        pulse, kernel = HostPulse(host.clock, 2.0), self.kernel

        def beat() -> None:
            while True:
                kernel.sleep(2.0)
                pulse._beat()

        kernel.spawn(group, "pulse", beat)
        return pulse

    def _thread(self, group: Group, name: str, work: Callable[[], None]) -> None:
        self.kernel.spawn(group, f"agent {name}", work)


def brief(run: Mapping[str, Any]) -> str:
    last = run["steps"][-1] if run["steps"] else None
    step = f", {last['name']} {last['result']} {last['detail']}" if last else ""
    epochs = f"epoch {run['epoch']} revoke {run['revoke_epoch']}"
    return f"{run['run']} {run['state']} {run['from']}->{run['to']} {epochs}{step}"
