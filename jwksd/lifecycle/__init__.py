"""The life of keys: states, schedule, what is due, what is published. Pure, as ``jose`` is."""
