// Anthropic's library for Node: a message thread whose conversation the server keeps.
import Anthropic from "@anthropic-ai/sdk";

const [root, model, question] = process.argv.slice(2);
const client = new Anthropic({ baseURL: root, apiKey: "any", maxRetries: 0 });
const tools = [{ name: "theirs", input_schema: { type: "object", properties: { x: { type: "integer" } } } }];
const thread = client.beta.messages.thread({ model, max_tokens: 999, tools });
let message = await thread.send({ role: "user", content: question });
for (;;) {
  const calls = message.content.filter((block) => block.type === "tool_use");
  if (!calls.length) break;
  const content = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: "on" }));
  message = await thread.send({ role: "user", content });
}
console.log(message.content.map((block) => block.text ?? "").join(""));
