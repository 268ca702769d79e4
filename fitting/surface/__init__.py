"""Loss over learning rate and batch, fitted over all cells at once.

Doors: `fit.fit_surface`, which gives a `fit.SurfaceFit`, and `fit.power_laws` of it;
`prior.line_from_law`, `prior.mup_line`, `prior.neutral_surface`.
"""
