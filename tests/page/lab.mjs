// Shared by all scripts that drive the page in Chromium: `node SCRIPT.mjs MODULES CHROMIUM ...`. Each step prints a line
// with a JSON object, {"step", "ok", "error"}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

export const [modules, executablePath, ...rest] = process.argv.slice(2);
const require = createRequire(join(modules, "walk.js"));
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");

export const SECTIONS = ["Overview", "Requests", "Playground", "Models", "MCP servers", "Keys and budgets", "Configuration", "Logs and events"];

let failed = false;
export const complaints = [];

/** Chromium; `names` are host names of this machine. */
export function launch(...names) {
  const rules = names.map((name) => `MAP ${name} 127.0.0.1`).join(", ");
  return chromium.launch({ executablePath, args: ["--no-sandbox", ...(rules ? [`--host-resolver-rules=${rules}`] : [])] });
}

/** A page in its own context that may only load addresses beginning with one of `bases`. */
export async function visitor(browser, ...bases) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, bypassCSP: false });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.on("console", (message) => {
    // Chromium also reports refusals (401, 409, 422), which the page shows.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("dialog", (dialog) => dialog.accept());
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith("data:") && !bases.some((base) => url.startsWith(base))) complaints.push(`asked of elsewhere: ${url}`);
  });
  return page;
}

export async function step(name, work) {
  try {
    const more = await work();
    console.log(JSON.stringify({ step: name, ok: true, ...(more ?? {}) }));
  } catch (error) {
    failed = true;
    console.log(JSON.stringify({ step: name, ok: false, error: String(error.message ?? error).slice(0, 1500) }));
  }
}

export async function open(page, section) {
  await page.getByRole("link", { name: section }).first().click();
  await page.getByRole("heading", { level: 1, name: section }).waitFor();
}

export async function audit(page, name) {
  // Over the protocol, to which the page's policy does not apply: it forbids all inline code.
  await page.evaluate(readFileSync(axe, "utf8"));
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  const serious = violations.filter((found) => ["serious", "critical"].includes(found.impact));
  if (serious.length > 0) {
    const told = serious.map((found) => `${found.id}: ${found.nodes.map((node) => node.html.slice(0, 160)).slice(0, 3).join(" | ")}`);
    throw new Error(`${name}: ${told.join("; ")}`);
  }
}

/** The last step of every script. */
export async function finish(browser) {
  await step("no complaint on the console, and nothing asked of another host", async () => {
    if (complaints.length > 0) throw new Error(complaints.join("\n"));
  });
  await browser.close();
  process.exit(failed ? 1 : 0);
}
