"""``charlm serve``: the playground, a page in the browser that writes with trained models.

`models.py` says what a model is asked for, `requests.py` reads what a page wants and bounds it,
`playground.py` answers over HTTP, `guard.py` refuses requests of other pages and machines, and
`server.py` listens.
"""

HOST, PORT = "127.0.0.1", 8642
