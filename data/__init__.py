"""Facts: law files, accelerators, shapes and published recipes, read as package resources."""
