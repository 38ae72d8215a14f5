"""`make bench`, or `python -m tests.bench`: choose, measure, print one table."""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import uvloop

from openai_proxy.compiled import library
from tests.bench.cases import CASES
from tests.bench.lab import ROOT, Lab, laboratory
from tests.bench.load import wrk_is_there
from tests.bench.peers import PEERS
from tests.bench.subjects import DEFAULT, SUBJECTS, Subject
from tests.bench.table import Row, missed, render


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"which ones (all): {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="short rounds: a look, not a measurement")
    parser.add_argument("--long", action="store_true", help="a million requests in the growth case")
    parser.add_argument("--only", default=",".join(DEFAULT), metavar="A,B", help="which subjects (%(default)s)")
    parser.add_argument("--peers", action="store_true", help="LiteLLM and lm-proxy too (installed below .bench/)")
    parser.add_argument("--list", action="store_true", help="name cases and subjects")
    found = parser.parse_args()
    unknown = set(found.cases) - set(CASES) | set(found.only.split(",")) - {subject.name for subject in SUBJECTS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return found


async def measure(lab: Lab, cases: list[str], subjects: list[Subject]) -> list[Row]:
    rows: list[Row] = []
    for name in cases:
        began = time.monotonic()
        print(f"{name}: {CASES[name].HELP}", flush=True)
        try:
            rows += await CASES[name].run(lab, subjects)
        finally:
            for subject in subjects:
                subject.stop()
        print(f"  took {time.monotonic() - began:.0f} s", flush=True)
    return rows


def main() -> int:
    wanted = arguments()
    if wanted.list:
        print("\n".join(f"{case.NAME:12} {case.HELP}" for case in CASES.values()))
        print("\n".join(f"{subject.name:12} {(subject.__doc__ or '').splitlines()[0]}" for subject in SUBJECTS))
        return 0
    chosen = [subject for subject in SUBJECTS if subject.name in wanted.only.split(",")]
    if wanted.peers:
        chosen += PEERS
    reasons = {subject.name: subject.missing() for subject in chosen}
    for name, reason in reasons.items():
        if reason:
            print(f"skipped {name}: {reason}")
    with laboratory(quick=wanted.quick) as lab:
        lab.long = wanted.long
        subjects = [subject(lab) for subject in chosen if reasons[subject.name] is None]
        rows = uvloop.run(measure(lab, wanted.cases or list(CASES), subjects))
        if any(subject.name == "ours" for subject in subjects):
            rows.append(Row("chat log lines lost", "", {"ours": float(lab.lost_lines)}))
    tool = "wrk" if wrk_is_there() else "raw client"
    form = "compiled" if library().exists() else "interpreted"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"\n{machine}, openai_proxy {form}, load by {tool}\n")
    print(render(rows, [subject.name for subject in subjects]))
    keep = ROOT / ".bench"
    keep.mkdir(exist_ok=True)
    (keep / "last.json").write_text(json.dumps([{"row": row.label, "unit": row.unit, **row.values} for row in rows]))
    for text in missed(rows):
        print(f"goal missed: {text}")
    if lab.lost_lines:
        print(f"FAILED: {lab.lost_lines} chat log lines are missing")
        return 1
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    sys.exit(main())
