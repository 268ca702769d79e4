"""Laws of the stability probes: logits, norms, gradient noise, sensitivity to lr.

Doors: `law.fit_probe`, `law.predict_probe`, `law.crossing_lr`; `lr_sensitivity.lr_sensitivities`;
`noise_scale.fit_noise`; `trend.find_trend` (any metric against compute); `figure.stability_figure`.
"""
