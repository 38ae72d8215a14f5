// Ollama's library for Node, streamed, with a tool loop.
import { Ollama } from "ollama";

const [root, model, question] = process.argv.slice(2);
const client = new Ollama({ host: root });
const parameters = { type: "object", properties: { x: { type: "integer" } } };
const tools = [{ type: "function", function: { name: "theirs", description: "The client's own.", parameters } }];
const messages = [{ role: "user", content: question }];
for (;;) {
  let content = "";
  const calls = [];
  for await (const part of await client.chat({ model, messages, tools, stream: true })) {
    content += part.message.content;
    calls.push(...(part.message.tool_calls ?? []));
  }
  if (!calls.length) {
    console.log(content);
    break;
  }
  messages.push({ role: "assistant", content, tool_calls: calls });
  for (const call of calls) messages.push({ role: "tool", tool_name: call.function.name, content: "on" });
}
