// Vercel's ai: the OpenAI-compatible provider over chat completions.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, tool } from "ai";
import { z } from "zod";

const [root, model, question] = process.argv.slice(2);
const provider = createOpenAICompatible({ name: "proxy", baseURL: root + "/v1", apiKey: "any" });
const theirs = tool({
  description: "The client's own.",
  inputSchema: z.object({ x: z.number() }),
  execute: async () => "on",
});
const { text } = await generateText({
  model: provider(model),
  prompt: question,
  tools: { theirs },
  stopWhen: stepCountIs(4),
  maxRetries: 0,
});
console.log(text);
