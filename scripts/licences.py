"""What an installation of the wheel pulls in, and under which licences: ``python scripts/licences.py``.

Reads the metadata of the packages that are installed beside this script's Python: the provider's own requirements, and
everything that those require in turn, without extras that nobody asked for. ``--direct`` leaves out what comes only
with Airflow itself.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROVIDER = "airflow-provider-workbench"
AIRFLOW = "apache-airflow"
UNKNOWN = "(not stated)"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--direct", action="store_true", help="leave out what comes only with Airflow itself")
    without = {AIRFLOW} if parser.parse_args().direct else set()
    rows = sorted((name, found.version, licence(found)) for name, found in pulled_in(without).items())
    for name, version, text in rows:
        print(f"{name:48} {version:14} {text}")
    unknown = [name for name, _, text in rows if text == UNKNOWN]
    print(f"\n{len(rows)} packages. Without a licence in their metadata: {', '.join(unknown) or 'none'}.")


def pulled_in(without: set[str]) -> dict[str, Distribution]:
    """By name, everything that the provider requires here, but for ``without`` and what only that requires."""
    found: dict[str, Distribution] = {}
    todo = [Requirement(PROVIDER)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        key = name, frozenset(requirement.extras)
        if name in without or key in seen:
            continue
        seen.add(key)
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            # a marker of another platform, or an optional part
            continue
        todo += required_by(found[name], requirement.extras)
    del found[PROVIDER]
    return found


def required_by(found: Distribution, extras: set[str]) -> Iterator[Requirement]:
    for line in found.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def licence(found: Distribution) -> str:
    """As its metadata states it: the expression, else the classifiers, else the first line of the field."""
    # as JSON a missing field is missing; else Pythons differ in whether that is an error
    metadata = found.metadata.json
    if expression := metadata.get("license_expression"):
        return str(expression)
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get("classifier", ())
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    first = re.sub(r"\s+", " ", str(metadata.get("license", "")).strip().partition("\n")[0])
    return ", ".join(classifiers) or first[:80] or UNKNOWN


if __name__ == "__main__":
    main()
