"""`bus-watch doctor`: what would go wrong, found before it does; one file for each kind of check."""
