"""A home kept in order: what each study, ablation, run and report needs; removal, health, and studies handed on.

Reads ledgers, store and reports; what it decides to remove goes through the store's trash. Needs no torch.
"""
