"""Many robust fits of one model at once: damped Gauss-Newton on members that share their data.

A fit minimises, in units of delta^2,

    sum_i w_i rho(r_i / delta) + (v - towards)' P (v - towards) / 2
    r = observed - model(v) - level

over the free parameters v of a model; rho is a norm, P a ridge, and level, where runs come in
cells, a number of each cell that is fitted with it. Members of a batch differ in their
start (a search) or in the weights w of the runs (bootstraps).

Huber's norm at a delta far below the scatter is nearly the sum of absolute residuals, on which
iterated weights converge slowly and Newton's step, which sees only the runs within delta, is
wild. Steps are therefore taken with a curvature between the two: mu 1 is iterated weights, a
majoriser; mu 0 is Newton's. Each member lowers mu while that works.

Levels enter linearly: they are set to their best at every step (variable projection), and the
slopes are centred about them, which makes the step that of the joint problem (Golub and Pereyra
1973).

Doors: `solve`, `search` and `look` of a `Problem`, the norms, `Pace`.
"""

from fitting.robust.norms import HUBER as HUBER
from fitting.robust.norms import SOFT as SOFT
from fitting.robust.norms import SQUARE as SQUARE
from fitting.robust.problem import DELTA as DELTA
from fitting.robust.problem import STEADY as STEADY
from fitting.robust.problem import Cells as Cells
from fitting.robust.problem import Evaluated as Evaluated
from fitting.robust.problem import Pace as Pace
from fitting.robust.problem import Problem as Problem
from fitting.robust.solver import Solution as Solution
from fitting.robust.solver import look as look
from fitting.robust.solver import search as search
from fitting.robust.solver import solve as solve
