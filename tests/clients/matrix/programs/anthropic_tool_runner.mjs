// Anthropic's library for Node: its tool runner, streamed.
import Anthropic from "@anthropic-ai/sdk";

const [root, model, question] = process.argv.slice(2);
const client = new Anthropic({ baseURL: root, apiKey: "any", maxRetries: 0 });
const theirs = {
  type: "custom",
  name: "theirs",
  description: "The client's own.",
  input_schema: { type: "object", properties: { x: { type: "integer" } } },
  run: () => "on",
  parse: (given) => given,
};
const runner = client.beta.messages.toolRunner({
  model,
  max_tokens: 999,
  stream: true,
  messages: [{ role: "user", content: question }],
  tools: [theirs],
});
let message;
for await (const stream of runner) message = await stream.finalMessage();
console.log(message.content.map((block) => block.text ?? "").join(""));
