"""The keys, and the one row of the ring.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "jwksd_keys",
        sa.Column("kid", sa.String(43), primary_key=True),
        sa.Column("alg", sa.String(20), nullable=False),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("published", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, index=True),
        sa.Column("member", sa.Text, nullable=False),
        sa.Column("envelope", sa.Text),
        sa.Column("changed", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "jwksd_ring",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("hurried", sa.Text, nullable=False),
        sa.Column("alert_until", sa.BigInteger, nullable=False),
        sa.Column("boot", sa.String(64)),
        sa.Column("ahead", sa.Double, nullable=False),
        sa.Column("forgotten", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO jwksd_ring VALUES (1, 0, '', 0, NULL, 0, 0)")


def downgrade() -> None:
    """To nothing."""
    op.drop_table("jwksd_ring")
    op.drop_table("jwksd_keys")
