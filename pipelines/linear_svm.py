#!/usr/bin/env python3
"""CNN codes + linear SVM on a folder of class folders, beside controls and published figures."""

from _recipe import run_head

if __name__ == "__main__":
    run_head("svm", __doc__)
