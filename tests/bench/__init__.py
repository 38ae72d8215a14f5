"""`make bench`: the cost of the proxy, compared to nginx and a plain aiohttp proxy, in one run under the same load.

    __main__.py     choose cases and subjects, print one table with ratios
    lab.py          processes on their cores, what they use, where they keep their files
    upstream.py     the provider: canned answers and streams, faster than everything that is measured
    subjects.py     what is measured: direct, nginx, plain aiohttp, this proxy; peers.py: LiteLLM and lm-proxy
    load.py         the load: wrk, or a raw client; and streams with a timestamp in each chunk
    cases/          one measurement each

Only ratios matter: absolute figures depend on the machine. Traffic stays on 127.0.0.1; everything is bounded and stops
by itself.
"""
