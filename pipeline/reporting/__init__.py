"""A report as a value, its two renderings, and what a report says of runs. Measures nothing, draws through `plots`."""
