"""The agent: calls the model, runs our tools, calls the model again, and gives the client one answer.

run        the entry points: start a turn, then stream it or get it whole
turn       the inputs of a turn: request, tools, settings, sender, observer
loop       the rounds of one turn
plan       what is sent in each round, and who runs a call
asking     the provider's side: send, read, release
rounds     one answer of the model: visible parts, calls
calls      running our tools
mixed      turns with calls of ours and of the client: what is stored, what is restored (a table of rules)
store      where hidden turns are stored; fingerprint: how they are found again
emit       what the client sees; status: progress reports while tools run
"""
