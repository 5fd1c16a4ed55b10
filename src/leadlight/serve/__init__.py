"""A study's pages over a web server on this machine, for studies too big for one file.

The server is bound to loopback and asks for a token. Whatever reads or computes runs in threads or
in a process of its own, never in the loop that answers; nothing in the study is ever written.
"""
