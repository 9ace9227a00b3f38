"""Run a command and write its peak memory in bytes to a file: ``peak.py FILE SECONDS COMMAND ...``.

It fails if the command takes longer than SECONDS. It is a process of its own, because the system
counts what the process used before the command started.
"""

import resource
import subprocess
import sys

code = subprocess.run(sys.argv[3:], timeout=float(sys.argv[2])).returncode
size = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(sys.argv[1], "w") as file:
    file.write(str(size * (1 if sys.platform == "darwin" else 1024)))
sys.exit(code)
