"""What only ``--dev`` opens: a clock to set, and wrong tokens made on purpose."""
