// The page under difficult conditions: another address, below a prefix, a tool, a sign-in, many and long requests,
// damaged logs. `node hard.mjs MODULES CHROMIUM FACTS`, where FACTS is JSON; see test_page.py.
import { appendFileSync, readFileSync } from "node:fs";
import { createServer, request as ask } from "node:http";
import { complaints, finish, launch, open, rest, SECTIONS, step, visitor } from "./lab.mjs";

const facts = JSON.parse(rest[0]);
const local = `http://127.0.0.1:${facts.port}`;
const browser = await launch("house.local");

/** A reverse proxy that serves the daemon below `prefix`, as Home Assistant's ingress does. */
function below(prefix, port = 0) {
  const server = createServer((incoming, outgoing) => {
    if (!incoming.url.startsWith(`${prefix}/`)) {
      complaints.push(`asked outside the prefix: ${incoming.url}`);
      outgoing.writeHead(404).end();
      return;
    }
    const headers = { ...incoming.headers, host: `127.0.0.1:${facts.port}`, "x-forwarded-host": incoming.headers.host, "x-forwarded-proto": "http" };
    const through = ask({ host: "127.0.0.1", port: facts.port, path: incoming.url.slice(prefix.length), method: incoming.method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    outgoing.on("close", () => through.destroy());
    through.on("error", () => outgoing.destroy());
    incoming.pipe(through);
  });
  return new Promise((ready) => server.listen(port, "127.0.0.1", () => ready(server)));
}

await step("from another address an admin key signs in, once", async () => {
  const base = `http://house.local:${facts.port}`;
  const page = await visitor(browser, base);
  await page.goto(base);
  await page.getByLabel("Admin key").fill("sk-wrong-key");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  await page.getByLabel("Admin key").fill(facts.admin_key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  await page.reload();
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await page.context().close();
});

await step("below a prefix every section works, and nothing is asked outside it", async () => {
  const prefix = "/api/hassio_ingress/abc-123";
  const server = await below(prefix);
  const base = `http://127.0.0.1:${server.address().port}${prefix}/`;
  const page = await visitor(browser, base);
  await page.goto(base + facts.logins[0].replace(/^\//, ""));
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  if (!page.url().startsWith(base)) throw new Error(`it went to ${page.url()}`);
  for (const name of SECTIONS) await open(page, name);
  await page.getByText("Live", { exact: true }).waitFor();
  await open(page, "Playground");
  await page.getByLabel("Model", { exact: true }).fill("echo");
  await page.getByLabel("Message", { exact: true }).fill("through the prefix");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".said.assistant", { hasText: "through the prefix" }).waitFor();
  await page.context().close();
  server.closeAllConnections();
  server.close();
});

const page = await visitor(browser, local, facts.oauth_origin);
await page.goto(local + facts.logins[1]);
await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();

await step("the playground shows the tools of a turn, and its parameters go up", async () => {
  let come;
  const wanted = new Promise((go) => (come = go));
  await page.route("**/admin/models", (route) => wanted.then(() => route.continue()));
  await open(page, "Playground");
  await page.getByLabel("Model", { exact: true }).focus();
  come(); // the list arrives between the click into the field and the first letter
  await page.locator("#models option").first().waitFor({ state: "attached" });
  await page.keyboard.insertText("augmented/tooled");
  await page.getByLabel("Parameters").fill("{not json");
  await page.getByText("This is not a JSON object.").waitFor();
  await page.getByLabel("Parameters").fill('{"temperature": 0.25}');
  await page.getByLabel("Message", { exact: true }).fill("What is 6 times 7?");
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.locator(".said.assistant", { hasText: "It is 42." });
  await answer.waitFor();
  await answer.locator(".tag", { hasText: "calculator" }).waitFor();
});

await step("a request is replayed with its parameters, which can be changed", async () => {
  await open(page, "Requests");
  await page.getByRole("button", { name: "Refresh" }).click();
  await page.locator("a.row", { hasText: "What is 6 times 7?" }).first().click();
  const talk = page.getByRole("article", { name: "Conversation" });
  await talk.getByText("calculator").first().waitFor();
  await talk.getByRole("button", { name: "Replay" }).click();
  await page.locator(".said.assistant", { hasText: "It is still 42." }).waitFor();
  const shown = JSON.parse(await page.getByLabel("Parameters").inputValue());
  if (shown.temperature !== 0.25) throw new Error(`replayed with ${JSON.stringify(shown)}`);
  await page.getByLabel("Parameters").fill('{"temperature": 0.75}');
  await page.getByRole("button", { name: "Answer again" }).click();
  await page.locator(".said.assistant", { hasText: "It is 42 for good." }).waitFor();
});

await step("a person signs in to a remote server", async () => {
  await open(page, "MCP servers");
  const server = page.getByRole("region", { name: "MCP server notes" });
  await server.getByText("needs-auth").waitFor();
  await server.getByRole("button", { name: "Sign in" }).click();
  const [tab] = await Promise.all([page.context().waitForEvent("page"), server.getByRole("link", { name: "Open the sign-in page" }).click()]);
  await tab.getByText("Signed in to notes").waitFor();
  await tab.close();
  await server.getByText("ready").waitFor();
  await server.getByRole("button", { name: /^Try .*whoami/ }).waitFor();
});

await step("requests are filtered by group and connection", async () => {
  await open(page, "Requests");
  await page.getByLabel("Filter by group").selectOption("family");
  await page.locator("a.row", { hasText: "asked by the family" }).first().waitFor();
  await page.locator("a.row", { hasText: "What is 6 times 7?" }).first().waitFor({ state: "detached" });
  await page.getByLabel("Filter by group").selectOption("");
  await page.getByLabel("Filter by connection").selectOption("scripted");
  await page.locator("a.row", { hasText: "What is 6 times 7?" }).first().waitFor();
  await page.locator("a.row", { hasText: "asked by the family" }).first().waitFor({ state: "detached" });
  await page.getByLabel("Filter by connection").selectOption("");
});

await step("a log that was cut in half is shown as far as it goes", async () => {
  await page.getByLabel("Search what was said").fill("before the power went");
  await page.locator("a.row", { hasText: "before the power went" }).first().click();
  const talk = page.getByRole("article", { name: "Conversation" });
  await talk.getByText("before the power went").first().waitFor();
  await talk.getByText("This much was said").waitFor();
  await page.getByLabel("Search what was said").fill("");
});

await step("a conversation of ten megabytes opens, cut where it is long", async () => {
  await page.getByLabel("Search what was said").fill("the long one");
  await page.locator("a.row", { hasText: "the long one" }).first().click();
  const talk = page.getByRole("article", { name: "Conversation" });
  await talk.getByText("more characters").first().waitFor();
  await talk.getByText("turn 399 of the long one").first().waitFor();
  await talk.getByRole("button", { name: "Show long texts whole" }).waitFor();
  const size = await page.evaluate(() => document.documentElement.outerHTML.length);
  if (size > 4e6) throw new Error(`the document has ${size} characters`);
  await page.getByRole("link", { name: "Close" }).click();
  await page.getByLabel("Search what was said").fill("");
});

await step("a file that was edited on disk meanwhile is not overwritten unseen, and what was typed stays", async () => {
  await open(page, "Configuration");
  await page.getByRole("link", { name: "models/tooled.yaml" }).click();
  const text = page.getByRole("textbox", { name: "Text of models/tooled.yaml" });
  await text.click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("description: Typed here");
  await page.getByText("no problem").waitFor();
  await page.emulateMedia({ colorScheme: "dark" });
  await text.getByText("Typed here").waitFor();
  await page.emulateMedia({ colorScheme: "light" });
  appendFileSync(facts.model_file, "# written by another editor\n");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("button", { name: "Save and apply" }).click();
  const dialog = page.getByRole("dialog", { name: "The file has changed meanwhile" });
  await dialog.getByText("written by another editor").first().waitFor();
  await dialog.getByRole("button", { name: "Go on editing" }).click();
  await text.getByText("Typed here").waitFor();
  if (!readFileSync(facts.model_file, "utf8").includes("another editor")) throw new Error("the file was overwritten");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.getByRole("button", { name: "Save and apply" }).click();
  await page.getByText("is saved and in effect").waitFor();
  const saved = readFileSync(facts.model_file, "utf8");
  if (!saved.includes("Typed here") || saved.includes("another editor")) throw new Error(saved);
});

await step("keys are completed by the schema of their file", async () => {
  for (const [path, begun, whole] of facts.completions) {
    await page.evaluate((to) => (location.hash = to), `#/config/${encodeURIComponent(path)}?new=1`);
    const text = page.getByRole("textbox", { name: `Text of ${path}` });
    await text.click();
    await page.keyboard.press("Control+End");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Home");
    await page.keyboard.type(begun);
    await page.getByRole("option", { name: new RegExp(`^${whole}`) }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Discard" }).click();
  }
});

await step("a daemon that goes away is said to, and is found again; a session that ended asks to sign in", async () => {
  let server = await below("/house");
  const { port } = server.address();
  const base = `http://127.0.0.1:${port}/house/`;
  const guest = await visitor(browser, base);
  await guest.goto(base + facts.logins[2].replace(/^\//, ""));
  await guest.getByText("Live", { exact: true }).waitFor();
  await guest.locator(".chart canvas").first().waitFor();
  const before = complaints.length;
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await guest.getByRole("alert").getByText("The daemon has not answered since").waitFor();
  server = await below("/house", port);
  await guest.getByText("Live", { exact: true }).waitFor();
  await guest.getByRole("alert").waitFor({ state: "detached" });
  await guest.context().clearCookies();
  await open(guest, "Models").catch(() => undefined);
  await guest.getByRole("button", { name: "Sign in" }).waitFor();
  await guest.context().close();
  server.closeAllConnections();
  server.close();
  complaints.length = before; // errors of loads that failed meanwhile
});

await step("ten thousand requests are scrolled through, and only those in sight are in the document", async () => {
  await open(page, "Requests");
  await page.getByLabel("Filter by model").fill("busy");
  const rows = page.getByRole("list", { name: "Requests", exact: true });
  await page.locator("a.row", { hasText: "number 9999" }).first().waitFor();
  const deadline = Date.now() + 120000;
  for (;;) {
    const seen = await rows.evaluate((list) => {
      list.parentElement.scrollTop = list.parentElement.scrollHeight;
      const texts = [...list.querySelectorAll("*")].filter((one) => one.childElementCount === 0).map((one) => one.textContent);
      return { rows: list.children.length, last: texts.includes("number 0"), text: list.textContent };
    });
    if (seen.rows > 200) throw new Error(`${seen.rows} rows are in the document`);
    if (seen.last) return { rows: seen.rows };
    if (Date.now() > deadline) throw new Error(`still at ${seen.text.slice(-300)}`);
    await new Promise((go) => setTimeout(go, 50));
  }
});

await finish(browser);
