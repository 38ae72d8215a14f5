"""`python -m tests.fuzz [--requests N] [--seconds S] [--seed K]`: bounded; exits with 1 if anything was found."""

import argparse
import asyncio
import sys

from tests.fuzz.run import run


def main() -> int:
    """Run, and print the result."""
    options = argparse.ArgumentParser(prog="make fuzz", description="Random requests, with and without the fast path.")
    options.add_argument("--requests", type=int, default=100_000, help="how many, to each daemon")
    options.add_argument("--seconds", type=float, default=1800, help="at most so long")
    options.add_argument("--seed", type=int, default=1, help="other numbers, other requests")
    chosen = options.parse_args()
    report = asyncio.run(run(chosen.requests, chosen.seconds, chosen.seed))
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(report.statuses.items()))
    print(f"{report.requests} requests to each daemon in {report.seconds:.0f} s, seed {chosen.seed}: {statuses}")
    for side, (before, after) in report.rss.items():
        print(f"{'with' if side == 'a' else 'without'} the fast path: {before} MiB after the first, {after} at the end")
    for difference in report.differences:
        print(difference)
    print("nothing found" if report.fine else f"{len(report.differences)} found")
    return 0 if report.fine else 1


if __name__ == "__main__":
    sys.exit(main())
