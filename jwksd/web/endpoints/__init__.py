"""What the site listens on."""
