"""The runs table: one row a training run, read, checked, judged and written."""
