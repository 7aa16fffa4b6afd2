"""What a report says of a study, an ablation, the reference; and the numbers of a written report against the store.

A summary in, blocks out: `study` and `ablation` are the lists of sections of their reports, the others what stands in
them. Nothing is measured here.
"""
