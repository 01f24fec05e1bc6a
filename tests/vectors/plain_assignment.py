"""Sections 8 and 9 of the specification, read plainly: which subjects are asked, how deep, and who holds a base."""

import hashlib
from typing import Any

import cbor2

Given = dict[str, Any]
MIB = 2**20
MAIN = {
    "tasks_max": 2000,
    "questions_max": 50_000,
    "pool": 15,
    "period": 168,
    "quick_depth": 5,
    "standard_depth": 25,
    "comprehensive_depth": 100,
    "unattested_slots": 200,
}
"""The main network's parameters, as far as these sections read them."""


def number(tag: str, *parts: Any) -> int:
    """H of section 1, as a number."""
    return int.from_bytes(hashlib.sha256(cbor2.dumps([tag, *parts])).digest(), "big")


def due_subjects(given: Given) -> list[str]:
    """Section 8. A subject is named by model and benchmark."""
    numbers = MAIN | given["parameters"]
    turns = {turn["subject"]: turn for turn in given["turns"]}
    subjects = [f"{model} {benchmark}" for model in given["models"] for benchmark in given["benchmarks"]]
    subjects.sort(key=lambda subject: (turns.get(subject, {"asked": -1})["asked"], subject))
    again = [subject for subject in subjects if turns.get(subject, {"due_again": False})["due_again"]]
    first = again[: max(1, numbers["tasks_max"] // 10)]
    order = first + [subject for subject in subjects if subject not in first]
    most = min(numbers["tasks_max"], numbers["questions_max"] // numbers["quick_depth"]) - given["examined"]
    return order[: max(0, most)]


def depths(given: Given) -> dict[str, int]:
    """Section 8."""
    numbers = MAIN | given["parameters"]
    found: dict[str, int] = {}
    left = given["left"]
    for depth in (numbers["standard_depth"], numbers["comprehensive_depth"]):
        for subject in given["undecided"]:
            more = depth - found.get(subject, numbers["quick_depth"])
            if subject in given["due"] and more > 0 and more <= left:
                found[subject] = depth
                left -= more
    return dict(sorted(found.items()))


class _Pools:
    """One mark's redraw; accounts, devices and bases are hex."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.numbers = MAIN | given["parameters"]
        eligible, bases = len(given["offers"]), len(given["bases"])
        self.size = min(eligible, max(self.numbers["pool"], -(-3 * eligible // max(1, bases))))
        self.pools: dict[str, list[Any]] = {base: [None] * self.size for base in sorted(given["bases"])}

    def devices(self, base: str, account: str) -> list[str]:
        """With room, beside all that they hold."""
        size = self.given["bases"][base]
        found = []
        for offer in sorted(self.given["offers"].get(account, []), key=lambda offer: str(offer["device"])):
            held = sum(
                self.given["bases"][other]
                for other, pool in self.pools.items()
                for slot in pool
                if slot and slot["device"] == offer["device"]
            )
            if offer["disk_mib"] * MIB - held >= size and offer["memory_mib"] * MIB >= size + 512 * MIB:
                found.append(offer["device"])
        return found

    def allowed(self, base: str, account: str) -> bool:
        """No second slot of a base, and a share for accounts without attestation."""
        holders = [slot["account"] for slot in self.pools[base] if slot]
        attested = self.given["attested"]
        if account in holders or attested is None or account in attested:
            return account not in holders
        strangers = set(holders) - set(attested)
        return len(strangers) < int(self.size * self.numbers["unattested_slots"] // 1000)

    def keep(self, base: str) -> None:
        """Step 1."""
        step = max(1, self.numbers["period"] // self.numbers["pool"])
        for place, slot in enumerate(self.given["pools"].get(base, [])):
            turn = self.given["marks"] + int(base[:16], 16) + place * step
            if place >= self.size or not slot or turn % self.numbers["period"] == 0:
                continue
            if self.allowed(base, slot["account"]) and slot["device"] in self.devices(base, slot["account"]):
                self.pools[base][place] = slot

    def fill(self, base: str) -> None:
        """Step 2."""
        accounts = sorted(self.given["offers"])
        count = len(accounts)
        name, beacon = bytes.fromhex(base), bytes.fromhex(self.given["beacon"])
        for place in range(self.size):
            if self.pools[base][place]:
                continue
            tries = [number("peerboard/slot/1", beacon, name, place, tried) % count for tried in range(4 * count)]
            for index in (*tries, *((tries[0] + further) % count for further in range(count))):
                devices = self.devices(base, accounts[index])
                if self.allowed(base, accounts[index]) and devices:
                    choice = number("peerboard/device/1", name, bytes.fromhex(accounts[index])) % len(devices)
                    self.pools[base][place] = {"account": accounts[index], "device": devices[choice]}
                    break


def pools(given: Given) -> dict[str, list[Any]]:
    """Section 9."""
    found = _Pools(given)
    for base in found.pools:
        found.keep(base)
    for base in found.pools:
        found.fill(base)
    return found.pools
