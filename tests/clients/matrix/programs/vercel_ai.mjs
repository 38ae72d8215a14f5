// Vercel's ai: `openai()` over Responses, its own tool loop, streamed.
import { createOpenAI } from "@ai-sdk/openai";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [root, model, question] = process.argv.slice(2);
const provider = createOpenAI({ baseURL: root + "/v1", apiKey: "any" });
const theirs = tool({
  description: "The client's own.",
  inputSchema: z.object({ x: z.number() }),
  execute: async () => "on",
});
const result = streamText({
  model: provider(model),
  prompt: question,
  tools: { theirs },
  stopWhen: stepCountIs(4),
  maxRetries: 0,
  onError: ({ error }) => console.error(error),
});
console.log(await result.text);
