"""The runs table: one row a training run, read, checked, judged and written.

Doors: `table.read_runs`, `table.check_runs`, `table.write_runs`; `tuned.tuned_runs` (lr and batch
as columns of numbers); `setting.require_one_setting`; `importing.import_table` of what
`readers.read_source` reads; `columns.COLUMNS`.
"""
