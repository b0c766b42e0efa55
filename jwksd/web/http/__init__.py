"""HTTP on twisted.web: site, connection, request, and answers that are repeated."""
