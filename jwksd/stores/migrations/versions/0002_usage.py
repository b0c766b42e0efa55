"""How much each key has signed.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Of the keys that there are nothing is known: they count from now on."""
    for name in ("signed", "last_exp"):
        column = sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        op.add_column("jwksd_keys", column)


def downgrade() -> None:
    """What was counted is lost."""
    for name in ("signed", "last_exp"):
        op.drop_column("jwksd_keys", name)
