// What the page costs: `node figures.mjs MODULES CHROMIUM BASE LOGIN SECONDS`; see figures.py, which drives the daemon
// meanwhile. Prints one JSON object per line.
import { createInterface } from "node:readline";
import { launch, open, rest, visitor } from "./lab.mjs";

const [base, login, seconds] = rest;
const browser = await launch();
const told = (name, facts) => console.log(JSON.stringify({ figure: name, ...facts }));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// A new context has a cold cache: only the session's cookie is carried over.
const first = await visitor(browser, base);
await first.goto(base + login);
await first.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
const cookies = await first.context().storageState();
await first.context().close();

const paints = [];
for (let round = 0; round < 5; round++) {
  const context = await browser.newContext({ storageState: cookies, viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await page.goto(base);
  await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
  paints.push(
    await page.evaluate(() => {
      const at = (name) => performance.getEntriesByName(name)[0]?.startTime;
      const loaded = performance.getEntriesByType("resource").reduce((sum, one) => sum + one.transferSize, 0) + performance.getEntriesByType("navigation")[0].transferSize;
      return { paint: at("first-contentful-paint"), heading: performance.now(), loaded };
    }),
  );
  await context.close();
}
const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
told("first paint, cold", { first_ms: Math.round(middle(paints.map((one) => one.paint))), overview_ms: Math.round(middle(paints.map((one) => one.heading))), bytes: middle(paints.map((one) => one.loaded)) });

told("no page", {}); // the daemon's memory and processor time without a page
await lines.next();
const context = await browser.newContext({ storageState: cookies, viewport: { width: 1280, height: 800 } });
const page = await context.newPage();
await page.goto(base);
await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
await page.waitForTimeout(1000);
told("page open", {});
await lines.next();
await page.getByRole("link", { name: "Requests" }).first().click();
await page.getByRole("heading", { level: 1, name: "Requests" }).waitFor();
await page.waitForTimeout(1000);
told("frames without events", await frames());
await lines.next();
told("frames at sixty events a second", await frames());
await lines.next();
await browser.close();
process.exit(0);

/** Measures the page's frames for a while; one that takes more than 25 ms is late. */
async function frames() {
  const times = await page.evaluate(
    (ms) =>
      new Promise((done) => {
        const found = [];
        const begun = performance.now();
        const frame = (at) => {
          found.push(at);
          if (at - begun < ms) requestAnimationFrame(frame);
          else done(found.slice(1).map((time, index) => time - found[index]));
        };
        requestAnimationFrame(frame);
      }),
    Number(seconds) * 1000,
  );
  const late = times.filter((one) => one > 25).length;
  return { frames: times.length, late, share: +(late / times.length).toFixed(4), longest_ms: +Math.max(...times).toFixed(1), median_ms: +middle(times).toFixed(1) };
}
