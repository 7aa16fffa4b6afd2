"""What the terminal shows: progress, tables, the live sweep, images. Readable piped, narrow and without colour."""
