"""How far measured optima lie from Step Law, where its runs diverged, and how far losses are off.

Prints the numbers that `data/laws/step-law.toml` and the loss laws carry as `scatter` and
`cliff`. Usage: python -m tests.benchmarks.optimum_scatter SHARED
"""

from __future__ import annotations

import sys
from pathlib import Path

from fitting.laws.file import read_law
from tests.measured.optimum_scatter import (
    LAWS,
    loss_scatter,
    lowest_diverged,
    scatter_of_optima,
    weight_decay_scatter,
)


def main(shared: Path) -> None:
    scatter = scatter_of_optima(shared)
    print(f"optima about step-law, {scatter['cells']} cells of N <= 268M inside their grid:")
    print(f"  lr scatter {scatter['lr']:.3f}   batch scatter {scatter['batch_tokens']:.3f}")
    print(f"lowest diverged lr over step-law's: {lowest_diverged(shared):.2f}")
    count, spread = weight_decay_scatter()
    print(f"weight decay of {count} recipes about power-lines: scatter {spread:.3f}")
    for path in sorted(LAWS.glob("*.toml")):
        loss = read_law(path, trusted=True).quantities.get("loss")
        if loss is not None and loss.form not in ("text", "exponents"):
            print(f"loss of {path.stem}, 36 cells: scatter {loss_scatter(shared, path.stem):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
