"""``python -m jwksd``: the same as the ``jwksd`` command."""

from jwksd.cli.command import main

main()
