"""python -m tlfeatures: the command line."""

import os
import sys

# `-m` lets modules of the working folder stand in for those of the libraries; it may be anybody's.
# The package's own folder stays, as in a checkout. `--backbone module:function` is found as ever.
if sys.path[:1] == [os.getcwd()] and os.path.dirname(os.path.dirname(__file__)) != sys.path[0]:
    del sys.path[0]

from tlfeatures.cli import main

if __name__ == "__main__":
    main()
