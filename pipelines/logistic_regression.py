#!/usr/bin/env python3
"""CNN codes + logistic regression (softmax) on a folder of class folders, beside controls."""

from _recipe import run_head

if __name__ == "__main__":
    run_head("logistic", __doc__)
