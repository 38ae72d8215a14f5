"""OAuth to remote MCP servers: people sign in once, connections get tokens.

sign_ins.py      the public face: accounts by server, sign-ins under way, callbacks
account.py       one server's tokens as its connections use them, refreshed before they end
credentials.py   what is kept, in a file that only its owner can read
sign_in.py       one sign-in of a person       } these import the SDK, whose OAuth client does the work
provider.py      that client, driven by us     }
http.py          the HTTP client for addresses that somebody else chose
"""
