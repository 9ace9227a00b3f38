"""The end of a process of several."""

from __future__ import annotations

import subprocess
import sys

# In Python's own end, the thread would abort the process.
CODE = """
import atexit, threading, torch
from charlm.launching import leave

def add():
    numbers = torch.ones(100)
    while True:
        numbers + numbers

atexit.register(print, "at the end")
threading.Thread(target=add, daemon=True).start()
print("before")
leave(3)
"""


def test_a_process_of_several_ends_beside_a_thread_of_torch():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "before\nat the end\n", "")
