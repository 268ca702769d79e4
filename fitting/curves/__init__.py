"""Loss against step: laws fitted to curves, forecasts and schedules designed by them.

Doors: `fit.fit_curves`, `forms.CURVE_FORMS`; `law.curve_law`, `law.law_of_fit`, `law.forecast`;
`schedule_design.design` (the schedule with the lowest forecast); `extend.extend` (a run in
progress); `path.make_path` (what a law sees of a schedule); `figure.curve_figure`. Curves are read
by `fitting.logs.series`.
"""
