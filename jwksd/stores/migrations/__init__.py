"""How the schema came to be, for Alembic: one file a step, in ``versions``."""
