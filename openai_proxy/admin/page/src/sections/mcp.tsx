/** MCP servers and all tools: state, parameters, trying one, restart, sign-in, stderr. */
import { useEffect, useState } from "preact/hooks";
import { get, send } from "../api";
import { duration } from "../format";
import { status } from "../live";
import { place } from "../router";
import type { McpServer } from "../types";
import { useGet } from "../ui/load";
import { Code, Dialog, Empty, Failure, Head, State, tell, tellError, toneOf } from "../ui/parts";
import { pretty } from "./conversation";

interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  enum?: unknown[];
  default?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
}

interface Tool {
  name: string;
  description: string;
  parameters: Schema;
  server: string | null;
  own_name: string;
}

export function McpServers() {
  const tools = useGet<{ tools: Tool[] }>("admin/tools");
  const [trying, setTrying] = useState<Tool | null>(null);
  const servers = status.value?.mcp_servers ?? [];
  const names = servers.map((server) => `${server.name}:${server.state}:${server.tools.length}`).join();
  useEffect(() => tools.again(), [names]);
  const own = tools.data?.tools.filter((tool) => tool.server === null) ?? [];
  return (
    <>
      <Head title="MCP servers" />
      <Failure error={tools.error} />
      {servers.length === 0 ? (
        <Empty title="No MCP server is configured.">
          Add one to mcp/servers.yaml, under <a href="#/config/mcp%2Fservers.yaml">Configuration</a>.
        </Empty>
      ) : null}
      <div class="cards">
        {servers.map((server) => (
          <Server key={server.name} server={server} tools={tools.data?.tools.filter((tool) => tool.server === server.name) ?? []} onTry={setTrying} />
        ))}
        <section class="sheet pad" aria-label="Tools of this house">
          <h2>Tools of this house</h2>
          {own.length === 0 ? <p class="soft">Built-in tools and those of conf/tools appear with the first augmented model.</p> : <Tools tools={own} onTry={setTrying} />}
        </section>
      </div>
      {trying === null ? null : <Try tool={trying} onClose={() => setTrying(null)} />}
    </>
  );
}

function Server({ server, tools, onTry }: { server: McpServer; tools: Tool[]; onTry: (tool: Tool) => void }) {
  const [address, setAddress] = useState<string | null>(null);
  const path = `admin/mcp/${encodeURIComponent(server.name)}`;
  const act = async (words: string, work: () => Promise<unknown>) => {
    try {
      await work();
      tell(words);
    } catch (error) {
      tellError(error);
    }
  };
  const signIn = async () => {
    const base = new URL(".", location.href).href;
    const found = await send<Record<string, unknown>>("POST", `${path}/login`, { base });
    const target = found.address ?? found.url ?? found.authorization_url;
    if (typeof target === "string" && /^https?:\/\//.test(target)) setAddress(target);
  };
  return (
    <section class="sheet pad" aria-label={`MCP server ${server.name}`} aria-current={place.value.item === server.name ? "true" : undefined}>
      <div class="card-head">
        <h2>{server.name}</h2>
        <State tone={toneOf(server.state)}>{server.state}</State>
        <span class="soft">
          {server.type}
          {server.pid ? `, process ${server.pid}` : ""}
          {server.protocol ? `, protocol ${server.protocol}` : ""}
          {server.restarts ? `, restarted ${server.restarts} times` : ""}
        </span>
        <span class="spring" />
        {server.type === "stdio" ? null : (
          <>
            <button type="button" class={server.state === "needs-auth" ? "button small main" : "button small"} onClick={() => void act("Open the address to sign in.", signIn)}>
              Sign in
            </button>
            <button type="button" class="button small" onClick={() => void act("Signed out.", () => send("POST", `${path}/logout`))}>
              Sign out
            </button>
          </>
        )}
        <button type="button" class="button small" disabled={server.state === "disabled"} onClick={() => void act(`${server.name} is being restarted.`, () => send("POST", `${path}/restart`))}>
          Restart
        </button>
      </div>
      {server.last_error ? <p class="bad-text">{server.last_error}</p> : null}
      {server.held_back && server.held_back.length > 0 ? <p class="warn-text">Changed definitions withheld until a restart: {server.held_back.join(", ")}</p> : null}
      {address === null ? null : <SignIn path={path} address={address} onDone={() => setAddress(null)} />}
      {tools.length > 0 ? <Tools tools={tools} onTry={onTry} /> : null}
      {server.stderr ? (
        <details>
          <summary>What it wrote to stderr</summary>
          <Code text={server.stderr} label={`stderr of ${server.name}`} />
        </details>
      ) : null}
    </section>
  );
}

function SignIn({ path, address, onDone }: { path: string; address: string; onDone: () => void }) {
  const [pasted, setPasted] = useState("");
  useEffect(() => {
    let gone = false;
    const wait = async () => {
      while (!gone) {
        const found = await get<{ state?: string }>(`${path}/login?wait=20`);
        if (found.state === "done" || found.state === "failed") {
          tell(found.state === "done" ? "Signed in." : "Not signed in.", found.state === "failed");
          onDone();
          return;
        }
      }
    };
    wait().catch(() => undefined);
    return () => {
      gone = true;
    };
  }, [path]);
  const finish = async (event: Event) => {
    event.preventDefault();
    try {
      await send("POST", `${path}/login/finish`, { address: pasted });
    } catch (error) {
      tellError(error);
    }
  };
  return (
    <form class="grid-form" onSubmit={finish}>
      <p>
        <a href={address} target="_blank" rel="noopener noreferrer">
          Open the sign-in page
        </a>
        . If the browser ends at an address it cannot open, paste that address:
      </p>
      <div class="filters">
        <input class="input search" aria-label="Address the browser was sent to" value={pasted} onInput={(event) => setPasted(event.currentTarget.value)} />
        <button class="button" type="submit" disabled={!pasted}>
          Finish
        </button>
      </div>
    </form>
  );
}

function Tools({ tools, onTry }: { tools: Tool[]; onTry: (tool: Tool) => void }) {
  return (
    <div class="scroll-x" tabIndex={0} role="region" aria-label="Tools">
      <table>
        <thead>
          <tr>
            <th>Tool</th>
            <th>What it does</th>
            <th>
              <span class="unseen">Try</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {tools.map((tool) => (
            <tr key={tool.name}>
              <td class="mono">{tool.own_name}</td>
              <td class="soft">{tool.description.split("\n")[0]}</td>
              <td class="num">
                <button type="button" class="button small" aria-label={`Try ${tool.own_name}`} onClick={() => onTry(tool)}>
                  Try
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function kind(schema: Schema): string {
  const types = Array.isArray(schema.type) ? schema.type : [schema.type ?? "any"];
  return types.find((type) => type !== "null") ?? "any";
}

/** A form field's text in the schema's type; complex values are entered as JSON. */
function value(text: string, schema: Schema): unknown {
  const type = kind(schema);
  if (type === "string") return text;
  if (type === "boolean") return text === "true";
  return JSON.parse(text);
}

function Try({ tool, onClose }: { tool: Tool; onClose: () => void }) {
  const members = Object.entries(tool.parameters.properties ?? {});
  const [texts, setTexts] = useState<Record<string, string>>({});
  const [result, setResult] = useState<{ text: string; is_error: boolean; duration_ms: number } | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const given: Record<string, unknown> = {};
      for (const [name, schema] of members) {
        const text = texts[name];
        if (text === undefined || (text === "" && !tool.parameters.required?.includes(name))) continue;
        try {
          given[name] = value(text, schema);
        } catch {
          throw new Error(`${name} must be ${kind(schema)}, written as JSON.`);
        }
      }
      setResult(await send("POST", `admin/tools/${encodeURIComponent(tool.name)}/call`, { arguments: given }));
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  return (
    <Dialog title={`Try ${tool.own_name}`} onClose={onClose}>
      <p class="soft">{tool.description}</p>
      <form class="grid-form" onSubmit={submit}>
        {members.map(([name, schema]) => {
          const id = `argument-${name}`;
          const set = (text: string) => setTexts({ ...texts, [name]: text });
          const options = schema.enum ?? (kind(schema) === "boolean" ? [true, false] : null);
          return (
            <div key={name} class="field">
              <label for={id}>
                {name}
                {tool.parameters.required?.includes(name) ? "" : " (optional)"}
                {schema.description ? `: ${schema.description}` : ""}
              </label>
              {options ? (
                <select id={id} class="input" value={texts[name] ?? ""} onChange={(event) => set(event.currentTarget.value)}>
                  <option value="">–</option>
                  {options.map((option) => (
                    <option key={String(option)} value={String(option)}>
                      {String(option)}
                    </option>
                  ))}
                </select>
              ) : (
                <input id={id} class="input" placeholder={schema.default === undefined ? kind(schema) : JSON.stringify(schema.default)} value={texts[name] ?? ""} onInput={(event) => set(event.currentTarget.value)} />
              )}
            </div>
          );
        })}
        <Failure error={error} />
        <div class="actions">
          <button type="submit" class="button main" disabled={busy}>
            {busy ? "Running …" : "Run"}
          </button>
        </div>
      </form>
      {result === null ? null : (
        <div role="status">
          <State tone={result.is_error ? "bad" : "good"}>{`${result.is_error ? "failed" : "ok"}, ${duration(result.duration_ms)}`}</State>
          <Code text={pretty(result.text)} label="Result" />
        </div>
      )}
    </Dialog>
  );
}
