// Walks through the page in Chromium: `node walk.mjs MODULES CHROMIUM BASE LOGIN [FOLDER]`. With FOLDER it also writes
// a screenshot of every section there.
import { join } from "node:path";
import { audit, finish, launch, open, rest, SECTIONS, step, visitor } from "./lab.mjs";

const [base, login, folder] = rest;
const browser = await launch();
const page = await visitor(browser, base);

await step("without a session only the way in is shown", async () => {
  await page.goto(base);
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  if ((await page.getByRole("navigation").count()) > 0) throw new Error("sections are shown");
});
await step("the one-time address signs in", async () => {
  await page.goto(base + login);
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
});
await step("the playground streams an answer, and markup stays text", async () => {
  await open(page, "Playground");
  await page.getByLabel("Model", { exact: true }).fill("echo");
  await page.getByLabel("Message", { exact: true }).fill("hello <img src=x onerror=alert(1)>");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".said.assistant", { hasText: "hello" }).waitFor();
  if ((await page.locator(".said img").count()) > 0) throw new Error("markup was executed");
});
await step("a click on a request opens its conversation", async () => {
  await open(page, "Requests");
  await page.getByRole("button", { name: "Refresh" }).click();
  await page.locator("a.row", { hasText: "hello" }).first().click();
  await page.getByRole("article", { name: "Conversation" }).getByText("hello", { exact: false }).first().waitFor();
});
await step("a model is explained and entered in a client", async () => {
  await open(page, "Models");
  await page.getByRole("link", { name: "augmented/home" }).click();
  await page.getByText("calculator").first().waitFor();
  await page.getByRole("button", { name: "Use it in …" }).last().click();
  await page.getByRole("dialog").getByLabel("Client").selectOption("openai");
  await page.getByRole("dialog").getByText("OPENAI_BASE_URL").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
});
await step("a model is warmed up, or why it is not is said", async () => {
  await page.getByRole("button", { name: "Warm up" }).click();
  await page.getByRole("status").getByText(/^augmented\/home is warm: \d+ tokens read, after \d+\.\d s\.$/).waitFor();
  await page.route("**/admin/warm", (route) => route.fulfill({ json: { models: [{ warm: false, error: "The connection 'offline' cannot be reached." }] } }));
  await page.getByRole("button", { name: "Warm up" }).click();
  await page.getByRole("status").getByText("augmented/home is not warm: The connection 'offline' cannot be reached.").waitFor();
  await page.unroute("**/admin/warm");
});
await step("a tool is tried with its form", async () => {
  await open(page, "MCP servers");
  await page.getByRole("button", { name: "Try calculator" }).click();
  await page.getByLabel("expression").fill("6*7");
  await page.getByRole("button", { name: "Run" }).click();
  await page.getByRole("region", { name: "Result" }).getByText("42").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
});
await step("a mistake is shown with its line and not saved, what is right is", async () => {
  await open(page, "Configuration");
  await page.getByRole("link", { name: "models/home.yaml" }).click();
  const text = page.getByRole("textbox", { name: "Text of models/home.yaml" });
  await text.click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("descripton: x");
  await page.getByRole("list", { name: "Problems" }).getByText("line 4").waitFor();
  await page.getByRole("button", { name: "Discard" }).click();
  await text.click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("description: Mine");
  await page.getByText("no problem").waitFor();
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("button", { name: "Save and apply" }).click();
  await page.getByText("is saved and in effect").waitFor();
  await page.getByRole("button", { name: /^Undo last save/ }).click();
  await page.getByText("is as it was before").waitFor();
});
for (const scheme of ["light", "dark"]) {
  for (const name of scheme === "light" || folder ? SECTIONS : ["Overview", "Requests", "Configuration"]) {
    await step(`${name} is accessible in ${scheme}`, async () => {
      await page.emulateMedia({ colorScheme: scheme });
      await open(page, name);
      await page.waitForLoadState("networkidle", { timeout: 1000 }).catch(() => undefined);
      await audit(page, name);
      if (folder) await page.screenshot({ path: join(folder, `${name.toLowerCase().replaceAll(" ", "-")}-${scheme}.png`) });
    });
  }
}
await step("on a phone nothing is wider than the screen", async () => {
  await page.setViewportSize({ width: 390, height: 844 });
  for (const name of SECTIONS) {
    await open(page, name);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    if (wide > 391) throw new Error(`${name} is ${wide} pixels wide`);
  }
});
await finish(browser);
