"""The doors: routes, what stands around every door, chat, models, pass-through, admin.

server        the listening side; protocol: one client connection the ordinary way; house: what commands change for all
lane          what passes in callbacks, in front of aiohttp: choosing (may it, and how does it begin; plan: what a head
              and a model decide), splice (it runs; client: to whom), heads (request heads that were read once);
              lane_protocol: aiohttp's side of it
door          one handler around every door; context: a request at the door; paths: which exist; ids: their names;
              asked: what it asks for
body, reply   reading a request, writing an answer; headers: which fields pass
chat          the order of things for every request to the API, on one page
passthrough   handing a provider's answer on; multipart: uploads; realtime: WebSockets; messages: Anthropic's clients
augmented     a model with tools: prompt, agent, answer
steering      commands and sessions; preface and own_answer: what the proxy says itself; first_answer: how it is found
              again; redacting: where secrets are taken out
models        the list of models
admin         the page and /admin/*: who may, the table of what there is, and its handlers
"""
