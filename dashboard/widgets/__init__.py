"""Small pieces of interface that several pages share."""
