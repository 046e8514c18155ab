"""The rules: one file each, found by name. A file's docstring says what its rule means, its clause and the remedy."""
