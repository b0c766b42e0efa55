"""A proof that every request is understood or refused.

Generated bodies, parameters, tokens and raw requests go to running servers over sockets, and every
answer is held to what is right for its request. ``__main__`` runs it.
"""
