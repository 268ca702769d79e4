"""From a runs table to laws: the fits of every quantity, their audit and their report.

Doors: `laws.fit_laws`, which gives a `result.FittedLaws`; `predict.predict_runs` (a law's loss of
any run); `figure.fit_figure` of `figure_data.fit_data`.
"""
