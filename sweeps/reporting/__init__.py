"""What a report says of a study, an ablation, the reference; and the numbers of a written report against the store."""
