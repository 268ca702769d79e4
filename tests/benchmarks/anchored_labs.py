"""How much closer the plan comes to each lab's tuned lr when the lab's smallest model anchors it.

usage: python -m tests.benchmarks.anchored_labs

Of data/optima.csv: every setup with more than one tuned size, its smallest model (all that was
tuned at that size) as anchor. Prints the median factor between planned and tuned lr over the
other sizes, at the batch that was used, before and after.
"""

from __future__ import annotations

from tests.measured.anchored_labs import anchored_setups


def main() -> None:
    print(f"{'setup':14} {'tuned lrs':>9} {'before':>7} {'after':>6}")
    setups = anchored_setups()
    for one in setups:
        print(f"{one.setup:14} {one.values:9d} {one.before:7.2f} {one.after:6.2f}")
    closer = sum(one.after < one.before for one in setups)
    print(f"closer after: {closer} of {len(setups)}")


if __name__ == "__main__":
    main()
