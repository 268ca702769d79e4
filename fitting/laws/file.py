"""What can be wrong with one table of a law file, said so that its author can mend it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fitting.errors import nearest_name
from fitting.laws.forms import FORMS, INPUTS

if TYPE_CHECKING:
    from fitting.laws.law import Covariance, Quantity

LARGEST_LOG_SD = 10.0
"""A standard deviation of ln above this, a factor of 20,000, says nothing and overflows."""

NEGATIVE_EIGENVALUE = -1e-4
"""Lowest eigenvalue a correlation matrix may have: six printed digits round it this far."""


def quantity_problem(quantity: Quantity) -> str | None:
    """What is wrong with one table of a law file, or None."""
    if quantity.form not in FORMS:
        known = nearest_name(quantity.form, FORMS) or f"; one of {', '.join(FORMS)}"
        return f"form '{quantity.form}': no such form{known}"
    return name_problem(quantity) or number_problem(quantity) or content_problem(quantity)


def name_problem(quantity: Quantity) -> str | None:
    """Coefficients that are missing, unknown to the form, or never reached; or None."""
    form, names = FORMS[quantity.form], quantity.coefficients.keys()
    missing = form.required - names
    if missing:
        return f"coefficients: {', '.join(sorted(missing))} missing ({form.formula})"
    unknown = [name for name in names if not form.allows(name)]
    if unknown:
        known = nearest_name(unknown[0], form.required | (set(INPUTS) if form.exponents else set()))
        return f"coefficients: '{unknown[0]}' means nothing to form {quantity.form}{known}"
    if quantity.form == "exponents" and not names:
        return "coefficients: none given; name at least one exponent by its input"
    for name in quantity.reference:
        if name not in form.needs(quantity.coefficients):
            return f"reference: '{name}' has no exponent in coefficients"
    return mixed_term_problem(names - form.required) if form.numbered else None


def mixed_term_problem(names: set[str]) -> str | None:
    """Terms that are not numbered c1, c2, ... without a gap, which no sum would reach; or None."""
    count = sum(name.startswith("c") for name in names)
    for name in sorted(names):
        if int(name[1:]) > count or f"c{name[1:]}" not in names:
            return (
                f"coefficients: '{name}' belongs to no term; number them c1, c2, ... without gaps"
            )
    return None


def number_problem(quantity: Quantity) -> str | None:
    """Numbers that are not finite, or not above 0 where they must be; or None."""
    for name, value in (quantity.coefficients | quantity.reference).items():
        if not math.isfinite(value):
            return f"{name}: {value} is not a finite number"
    positive = {
        name: quantity.coefficients[name]
        for name in sorted(FORMS[quantity.form].positive)
        if name in quantity.coefficients
    }
    if quantity.maximum is not None:
        positive["maximum"] = quantity.maximum
    for name, value in (positive | quantity.reference).items():
        if not 0 < value < math.inf:
            return f"{name}: {value} is not above 0"
    return None


def content_problem(quantity: Quantity) -> str | None:
    """What is wrong with scatter, rows, text or covariance, or None."""
    for name in ("scatter", "form_log_sd", "penalty_scatter"):
        value = getattr(quantity, name)
        if value is not None and not 0 <= value <= LARGEST_LOG_SD:
            return f"{name}: {value} is not a standard deviation of ln, 0 to {LARGEST_LOG_SD:g}"
    if quantity.cliff is not None and not 1 < quantity.cliff < math.inf:
        return f"cliff: {quantity.cliff} is not a multiple of the law's value above 1"
    if quantity.form == "text" and not quantity.text:
        return "text: missing"
    if quantity.covariance is not None:
        return row_problem(quantity) or covariance_problem(quantity, quantity.covariance)
    return row_problem(quantity)


def row_problem(quantity: Quantity) -> str | None:
    """What is wrong with the rows of a table, or None."""
    if quantity.form != "table":
        return f"rows: form {quantity.form} has none" if quantity.rows else None
    if len(quantity.rows) < 2:
        return "rows: a table needs two rows with params and value"
    for row in quantity.rows:
        if row.keys() != {"params", "value"} or not all(0 < v < math.inf for v in row.values()):
            return f"rows: {row} is not params and value above 0"
    params = [row["params"] for row in quantity.rows]
    if len(set(params)) < len(params):
        return "rows: two rows have the same params"
    return None


def covariance_problem(quantity: Quantity, covariance: Covariance) -> str | None:
    """What is wrong with a quantity's covariance, or None."""
    names, matrix = covariance.names, covariance.matrix
    known = {*quantity.coefficients, "log_scale"} - {"scale"}
    if not set(names) <= known or len(set(names)) < len(names):
        return f"covariance: names {names} are not among {sorted(known)}, each once"
    if len(matrix) != len(names) or any(len(row) != len(names) for row in matrix):
        return f"covariance: the matrix is not {len(names)} x {len(names)}"
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            bound = math.sqrt(max(matrix[i][i], 0) * max(matrix[j][j], 0)) * (1 + 1e-9)
            if not abs(value) <= bound or not math.isclose(value, matrix[j][i], rel_tol=1e-9):
                return f"covariance: entry {names[i]}, {names[j]} is not that of a covariance"
    if lowest_eigenvalue(matrix) < NEGATIVE_EIGENVALUE:
        return "covariance: the matrix gives some combination a variance below 0"
    return None


def lowest_eigenvalue(matrix: list[list[float]]) -> float:
    """Lowest eigenvalue of the correlation matrix of a covariance."""
    # Imported here because planning reads law files without checking them, and without numpy.
    import numpy as np

    covariance = np.array(matrix)
    sd = np.sqrt(np.diag(covariance))
    scale = np.where(sd > 0, sd, 1.0)
    return float(np.linalg.eigvalsh(covariance / np.outer(scale, scale)).min(initial=0.0))
