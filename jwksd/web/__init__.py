"""HTTP: the resource tree, one resource a file, on twisted.web."""
