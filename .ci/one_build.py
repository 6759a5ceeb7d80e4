"""Checks that the README's two commands compile each crate with one set of features.

Cargo chooses the features of a crate for the packages that a command builds. If two commands choose different features
for one crate, they compile it twice, and with it all crates that depend on it. For the AWS SDK that takes minutes.
"""

import hashlib
import json
import os
import subprocess
import sys

# `cargo local` builds this program, and the program builds the function. The second command builds the tests.
COMMANDS = [
    "build --package instream-local --bin instream-local",
    "build --package instream --package instream-local",
    "test --workspace --no-run",
]


def unit_graph(command):
    """Returns all compilations of a command with their dependencies, which cargo shows only to nightly users."""
    arguments = ["cargo", *command.split(), "--unit-graph", "-Z", "unstable-options"]
    environment = {**os.environ, "RUSTC_BOOTSTRAP": "1"}
    return json.loads(subprocess.run(arguments, env=environment, check=True, capture_output=True).stdout)["units"]


def compilations(units):
    """Returns the name of each compilation by its hash. The hash covers the features of all dependencies as well."""
    for_host, names, hashes = set(), {}, {}

    def mark_for_host(index):
        if index not in for_host:
            for_host.add(index)
            for dependency in units[index]["dependencies"]:
                mark_for_host(dependency["index"])

    for index, unit in enumerate(units):
        if unit["target"]["kind"] in (["proc-macro"], ["custom-build"]):
            mark_for_host(index)

    def hash_of(index):
        if index not in hashes:
            unit = units[index]
            profile = {key: value for key, value in unit["profile"].items() if key != "name"}
            parts = [unit["pkg_id"], unit["target"], unit["mode"], profile, unit["features"]]
            parts += sorted(hash_of(dependency["index"]) for dependency in unit["dependencies"])
            hashes[index] = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return hashes[index]

    for index, unit in enumerate(units):
        if unit["target"]["kind"] != ["custom-build"]:
            # A crate that a macro needs has features of its own.
            kind = "".join(unit["target"]["kind"])
            names[hash_of(index)] = (unit["pkg_id"], unit["target"]["name"], kind, unit["mode"], index in for_host)
    return names


def main():
    sys.setrecursionlimit(10_000)
    known, faults = {}, []
    for command in COMMANDS:
        new = {key: name for key, name in compilations(unit_graph(command)).items() if key not in known}
        before = set(known.values())
        twice = sorted({name[0] for name in new.values() if name in before})
        faults += [f"cargo {command} compiles again: {package}" for package in twice]
        known |= new
        print(f"cargo {command}: {len(new)} further compilations")
    sys.exit("\n".join(faults) if faults else 0)


main()
