"""The loss against params and tokens.

Door: `fit.fit_loss`, which gives a `result.LossFit`; `families.FAMILIES` are what it weighs.
"""
