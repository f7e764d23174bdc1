"""The last stage: a network trained further where codes are not enough.

Promises: starts where the baseline ended, chooses on pictures carved out of the training data,
keeps the baseline where fine-tuning does not win. Must not know: pages, the command line.
"""
