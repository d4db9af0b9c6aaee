"""On which store the configuration of which host lies (R2.8, decisions/0039)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.holdfast.mail.plugins.module_utils.core.checks import Inventory, Mistake

ROOT = "/srv/store"  # of a pair, as role store has it

Places = dict[str, dict[str, Any]]


class Misplaced(ValueError):
    """A site in `stored_configuration_at`, where it leads to, what to do."""

    def __str__(self) -> str:
        site, other, remedy = self.args
        return f"stored_configuration_at.{site} is {other!r}: {remedy}"


def places(
    stores: Mapping[str, Mapping[str, Any]],
    external: Mapping[str, Mapping[str, Any]],
    sites: Mapping[str, str],
    at: Mapping[str, str],
) -> Places:
    """{store: {site, hosts, reached, root, mounted}}, those alone that keep something of a host.

    `sites`: {host: its site}. A host's configuration lies on the first store of its site; that of a site without one on
    the store of the site that `at` names, or else on the first store of all. A pair is `reached` by its members: who
    owns it has `root` `mounted`. A store from elsewhere keeps something only where it says `configuration`, a folder of
    its manager. Empty where no store does. Raises Misplaced.
    """
    known: Places = {}
    for name, store in stores.items():
        known[name] = {"site": store["site"], "reached": list(store["members"]), "root": ROOT, "mounted": True}
    for name, store in external.items():
        if folder := store.get("configuration"):
            known[name] = {"site": store["site"], "reached": [store["manager"]], "root": folder, "mounted": False}
    by_site: dict[str, str] = {}
    for name, place in known.items():
        by_site.setdefault(place["site"], name)
    for site, other in at.items():
        if other not in by_site:
            raise Misplaced(
                site, other, f"name a site with a store that keeps it; there are {', '.join(by_site) or 'none'}"
            )
        if site not in sites.values():
            raise Misplaced(site, other, f"no host is in {site}; leave it out")
    for host, site in sites.items():
        home = by_site.get(at.get(site, site)) or next(iter(known), None)
        if home is not None:
            known[home].setdefault("hosts", []).append(host)
    return {name: place for name, place in known.items() if "hosts" in place}


def check(inventory: Inventory) -> list[Mistake]:
    """What is wrong with the inventory's settings about it."""
    return [*_wanted(inventory), *_places(inventory)]


def _wanted(inventory: Inventory) -> Iterator[Mistake]:
    wanted = inventory.settings.get("stored_configuration")
    if wanted is None or wanted == {}:  # not set; not resolvable, which was said already
        return
    try:
        boolean(wanted)
    except TypeError:
        file = inventory.file("stored_configuration")
        yield Mistake(file, "stored_configuration", wanted, "give true or false; or leave it out for true")


def _places(inventory: Inventory) -> Iterator[Mistake]:
    settings = inventory.settings
    at = settings.get("stored_configuration_at") or {}
    file = inventory.file("stored_configuration_at")
    if not isinstance(at, Mapping):
        yield Mistake(file, "stored_configuration_at", at, "give {site without a store: a site with one}")
        return
    sites = {host: str(values.get("site")) for host, values in inventory.hosts.items()}
    try:
        places(settings.get("stores") or {}, settings.get("external_stores") or {}, sites, at)
    except Misplaced as why:
        site, other, remedy = why.args
        yield Mistake(file, f"stored_configuration_at.{site}", other, remedy)
    except KeyError:  # a store without its site or members, which another check names
        pass
