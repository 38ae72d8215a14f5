// Google's library for Node, streamed, with a tool loop.
import { GoogleGenAI } from "@google/genai";

const [root, model, question] = process.argv.slice(2);
const client = new GoogleGenAI({ apiKey: "any", httpOptions: { baseUrl: root } });
const parametersJsonSchema = { type: "object", properties: { x: { type: "integer" } } };
const tools = [{ functionDeclarations: [{ name: "theirs", description: "The client's own.", parametersJsonSchema }] }];
const contents = [{ role: "user", parts: [{ text: question }] }];
for (;;) {
  const parts = [];
  for await (const chunk of await client.models.generateContentStream({ model, contents, config: { tools } }))
    parts.push(...(chunk.candidates?.[0]?.content?.parts ?? []));
  const calls = parts.filter((part) => part.functionCall).map((part) => part.functionCall);
  if (!calls.length) {
    console.log(parts.map((part) => part.text ?? "").join(""));
    break;
  }
  contents.push({ role: "model", parts });
  const answers = calls.map(({ id, name }) => ({ functionResponse: { id, name, response: { output: "on" } } }));
  contents.push({ role: "user", parts: answers });
}
