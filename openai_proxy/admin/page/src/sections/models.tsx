/** Models: where a request for each goes and why, and what to enter in a client. */
import { useState } from "preact/hooks";
import { send } from "../api";
import { link, place } from "../router";
import { useGet } from "../ui/load";
import { Code, Dialog, Empty, Failure, Head, State, tell, tellError } from "../ui/parts";

interface Model {
  id: string;
  connection?: string;
  upstream_model?: string;
  targets?: number;
  augmented?: boolean;
  description?: string;
  context_length?: number;
}

export function Models() {
  const found = useGet<{ models: Model[] }>("admin/models");
  const [text, setText] = useState("");
  const [using, setUsing] = useState<string | null>(null);
  const open = place.value.item;
  const shown = (found.data?.models ?? []).filter((model) => model.id.toLowerCase().includes(text.toLowerCase()));
  return (
    <>
      <Head title="Models">
        <input class="input search" style={{ width: "15rem" }} type="search" placeholder="Filter" aria-label="Filter models" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        <button type="button" class="button main" onClick={() => setUsing("")}>
          Use it in …
        </button>
      </Head>
      <Failure error={found.error} />
      {open ? <Explanation model={open} use={() => setUsing(open)} /> : null}
      <section class="block">
        {found.data !== null && shown.length === 0 ? <Empty title="No model matches.">Connections list their models once they answer; see Overview.</Empty> : null}
        <div class="scroll-x" tabIndex={0} role="region" aria-label="Models">
          <table>
            <thead>
              <tr>
                <th>Model</th>
                <th>Goes to</th>
                <th>Upstream model</th>
                <th class="num">Context</th>
              </tr>
            </thead>
            <tbody>
              {shown.slice(0, 500).map((model) => (
                <tr key={model.id}>
                  <td>
                    <a href={link("models", model.id)}>{model.id}</a> {model.augmented ? <span class="tag">augmented</span> : null}
                    {model.description ? <div class="soft">{model.description}</div> : null}
                  </td>
                  <td>
                    {model.connection}
                    {(model.targets ?? 1) > 1 ? <span class="soft"> and {(model.targets ?? 1) - 1} more</span> : null}
                  </td>
                  <td class="soft">{model.upstream_model}</td>
                  <td class="num soft">{model.context_length?.toLocaleString() ?? ""}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        {shown.length > 500 ? <p class="faint">Showing the first 500 of {shown.length}; filter to see others.</p> : null}
      </section>
      {using === null ? null : <UseIn model={using} onClose={() => setUsing(null)} />}
    </>
  );
}

function Explanation({ model, use }: { model: string; use: () => void }) {
  const found = useGet<{ served: boolean; lines: string[] }>(`admin/explain?model=${encodeURIComponent(model)}`);
  return (
    <section class="block sheet pad" aria-label={`Explanation of ${model}`}>
      <div class="block-head">
        <h2>{model}</h2>
        {found.data ? <State tone={found.data.served ? "good" : "bad"}>{found.data.served ? "served" : "not served"}</State> : null}
        <span class="spring" />
        <a class="button small" href={link("playground", "", { model })}>
          Try it
        </a>
        {found.data?.served ? <WarmUp key={model} model={model} /> : null}
        <button type="button" class="button small" onClick={use}>
          Use it in …
        </button>
        <a class="button small" href={link("models")}>
          Close
        </a>
      </div>
      <Failure error={found.error} />
      {found.data ? <Code text={found.data.lines.join("\n")} label="Explanation" /> : null}
    </section>
  );
}

interface Warmed {
  warm: boolean;
  seconds?: number;
  prompt_tokens?: number;
  cached_tokens?: number;
  error?: string;
}

/** Makes the provider load the model and the fixed part of its prompt. */
function WarmUp({ model }: { model: string }) {
  const [busy, setBusy] = useState(false);
  const warm = async () => {
    setBusy(true);
    try {
      const { models } = await send<{ models: Warmed[] }>("POST", "admin/warm", { models: [model] });
      const done = models[0];
      if (done?.warm) tell(`${model} is warm${read(done)}, after ${(done.seconds ?? 0).toFixed(1)} s.`);
      else tell(`${model} is not warm: ${done?.error ?? "no request was sent."}`, true);
    } catch (error) {
      tellError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <button type="button" class="button small" disabled={busy} title="Load the model and the fixed part of its prompt" onClick={() => void warm()}>
      {busy ? "Warming up …" : "Warm up"}
    </button>
  );
}

function read({ prompt_tokens: tokens, cached_tokens: cached }: Warmed): string {
  if (tokens === undefined) return "";
  return `: ${tokens.toLocaleString()} tokens read${cached ? `, ${cached.toLocaleString()} of them from the cache` : ""}`;
}

function UseIn({ model, onClose }: { model: string; onClose: () => void }) {
  const clients = useGet<{ clients: { name: string; title: string }[]; addresses: string[] }>("admin/connect");
  const [client, setClient] = useState("");
  const name = client || clients.data?.clients[0]?.name || "";
  const query = new URLSearchParams({ ...(model ? { model } : {}) });
  const recipe = useGet<{ text: string }>(name ? `admin/connect/${name}?${query}` : null);
  return (
    <Dialog title={model ? `Use ${model} in …` : "Use this proxy in …"} onClose={onClose}>
      <div class="field">
        <label for="client">Client</label>
        <select id="client" class="input" value={name} onChange={(event) => setClient(event.currentTarget.value)}>
          {clients.data?.clients.map((one) => (
            <option key={one.name} value={one.name}>
              {one.name}: {one.title}
            </option>
          ))}
        </select>
      </div>
      <Failure error={clients.error ?? recipe.error} />
      {recipe.data ? <Code text={recipe.data.text} label="What to enter" /> : null}
    </Dialog>
  );
}
