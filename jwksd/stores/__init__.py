"""Where keys are kept: in memory, or in a database."""
