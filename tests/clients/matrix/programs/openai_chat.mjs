// OpenAI's library for Node: its tool runner over streamed chat completions.
import OpenAI from "openai";

const [root, model, question] = process.argv.slice(2);
const client = new OpenAI({ baseURL: root + "/v1", apiKey: "any", maxRetries: 0 });
const parameters = { type: "object", properties: { x: { type: "integer" } } };
const theirs = { name: "theirs", description: "The client's own.", parameters, parse: JSON.parse, function: () => "on" };
const runner = client.chat.completions.runTools({
  model,
  stream: true,
  messages: [{ role: "user", content: question }],
  tools: [{ type: "function", function: theirs }],
});
console.log(await runner.finalContent());
