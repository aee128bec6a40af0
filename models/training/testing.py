"""Runs the tests of a module: all, or those that the command line names."""
import sys

import torch


def run(module):
    """`module`: its globals()."""
    torch.set_num_threads(1)
    for name, test in [item for item in module.items() if item[0].startswith("test_")]:
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            test()
            print("ok", name, flush=True)
