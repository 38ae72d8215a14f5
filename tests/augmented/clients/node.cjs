// OpenAI's client for Node on an augmented model: a tool conversation, a mixed turn, a streamed status, a broken stream.
// Arguments: base URL, and the names of the scripts in that order. Prints one JSON object.

const OpenAI = require("openai");

const [url, conversation, mixed, streamed, helped, broken] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "any", maxRetries: 0, timeout: 20000 });
const model = "augmented/tools";
const tools = [{ type: "function", function: { name: "theirs", parameters: { type: "object", properties: {} } } }];
const by = (play) => ({ headers: { "X-Play": play } });
const ask = (play, messages, more = {}) => client.chat.completions.create({ model, messages, ...more }, by(play));

async function main() {
  const told = {};
  const question = [{ role: "user", content: "Hi" }];

  told.conversation = (await ask(conversation, question)).choices[0].message.content;

  const first = (await ask(mixed, question, { tools })).choices[0].message;
  told.call = first.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
  const result = { role: "tool", tool_call_id: first.tool_calls[0].id, content: "on" };
  told.mixed = (await ask(mixed, [...question, first, result], { tools })).choices[0].message.content;

  const states = [];
  let text = "";
  for await (const chunk of await ask(streamed, question, { stream: true })) {
    if (chunk.proxy_status) states.push(chunk.proxy_status.status);
    text += chunk.choices[0].delta.content ?? "";
  }
  told.streamed = text;
  told.states = states;

  const runner = client.chat.completions.stream(
    { model, messages: question, tools, stream_options: { include_usage: true } },
    by(helped),
  );
  const done = await runner.finalChatCompletion();
  const message = done.choices[0].message;
  told.helped = [message.content, message.tool_calls[0].function.arguments, done.usage.total_tokens];

  try {
    for await (const chunk of await ask(broken, question, { stream: true })) void chunk;
    told.broken = "no error";
  } catch (error) {
    told.broken = error instanceof OpenAI.APIError ? "APIError" : String(error);
  }
  console.log(JSON.stringify(told));
}

main();
