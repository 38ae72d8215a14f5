"""OAuth for remote MCP servers: people sign in once, connections get tokens.

sign_ins.py      the public interface: accounts by server, pending sign-ins, callbacks
account.py       one server's tokens as its connections use them, refreshed before they expire
credentials.py   what is stored, in a file that only its owner can read
sign_in.py       one sign-in of a person       } these import the SDK, whose OAuth client does the work
provider.py      that client, driven by us     }
http.py          the HTTP client for addresses that someone else chose
"""
