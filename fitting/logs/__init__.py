"""One run's log: a table of steps, its noise, its faults and its final loss.

Doors: `series.read_log`, `series.read_curve`, `series.read_schedule`, `series.read_steps`;
`faults.find_faults`, `noise.measure_noise`, `final_loss.predict_final`.
"""
