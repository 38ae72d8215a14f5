"""`make bench`: what the proxy costs, beside nginx and a plain aiohttp proxy, in one run on the same load.

    __main__.py     choose cases and subjects, print one table with ratios
    lab.py          processes on their cores, what they use, where they keep their files
    upstream.py     the provider: canned answers and streams, faster than everything that is measured
    subjects.py     what is measured: direct, nginx, plain aiohttp, ourselves; peers.py: LiteLLM and lm-proxy
    load.py         what measures: wrk, or a raw client; and streams with a stamp in each chunk
    cases/          one measurement each

Ratios are what counts: absolute figures belong to the machine. Traffic stays on 127.0.0.1; everything is bounded
and stops by itself.
"""
