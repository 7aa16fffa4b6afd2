"""Speed, as ratios side by side in one run on the same work. `make bench` prints a table and writes JSON."""
