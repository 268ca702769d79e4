"""A plan or a config held against other plans, practice and pilots."""
