"""Alembic runs this file for each command; the connection comes from ``migrate``."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
