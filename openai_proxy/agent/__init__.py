"""The agent: ask the model, run our tools, ask again, and give the client one honest answer.

run        the two doors: start a turn, then stream it or take it whole
turn       what a turn is made from: request, tools, settings, whom to ask, who watches
loop       the rounds of one turn
plan       what is sent in each round, and whose a call is
asking     the provider's side: ask, read, let go
rounds     one answer of the model: what is seen, what is called
calls      running ours
mixed      turns that call ours and the client's: what is kept, what is put back (a table of rules)
store      where hidden turns are kept; fingerprint: how they are found again
emit       what the client sees; status: what it is told while tools run
"""
