// The smallest MCP server in Node.js, with the tool `echo`: it shows that V8 runs in the sandbox.
import { createInterface } from "node:readline";

const tool = { name: "echo", inputSchema: { type: "object", properties: { text: { type: "string" } } } };
const results = {
  initialize: () => ({
    protocolVersion: "2025-06-18",
    capabilities: { tools: {} },
    serverInfo: { name: "node", version: "1" },
  }),
  "tools/list": () => ({ tools: [tool] }),
  "tools/call": (params) => ({ content: [{ type: "text", text: params.arguments.text }] }),
  ping: () => ({}),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id !== undefined) {
    const known = method in results;
    const answer = known ? { result: results[method](params) } : { error: { code: -32601, message: method } };
    console.log(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
  }
}
