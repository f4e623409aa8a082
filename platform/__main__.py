"""``python -m platform``: prints what the standard module prints, with the same arguments."""

import os
import runpy
import sys
import sysconfig

if __name__ == "__main__":
    checkout = os.path.realpath(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[:] = [sysconfig.get_path("stdlib"), *(entry for entry in sys.path if os.path.realpath(entry) != checkout)]
    del sys.modules["platform"]  # the next search finds the standard module and runs it as __main__
    runpy.run_module("platform", run_name="__main__", alter_sys=True)
