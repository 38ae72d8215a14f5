/** Try any model: streamed, with its tool calls, as a client would. */
import { useEffect, useRef, useState } from "preact/hooks";
import { get, request, words } from "../api";
import { count, duration } from "../format";
import { link, place } from "../router";
import { useGet } from "../ui/load";
import { Head, tellError } from "../ui/parts";

interface Turn {
  role: "user" | "assistant" | "system" | "tool";
  content: unknown;
  note?: string;
  tools?: string[];
  failed?: boolean;
  [member: string]: unknown;
}

type Params = Record<string, unknown>;

interface Chunk {
  choices?: { delta?: { content?: string; reasoning_content?: string } }[];
  usage?: { prompt_tokens?: number; completion_tokens?: number };
  error?: { message?: string };
  proxy_status?: { status?: string; tool_name?: string };
}

export function Playground() {
  const models = useGet<{ models: { id: string }[] }>("admin/models");
  const [typed, setTyped] = useState(place.value.query.get("model") ?? "");
  const [system, setSystem] = useState("");
  const [params, setParams] = useState("");
  const [turns, setTurns] = useState<Turn[]>([]);
  const [text, setText] = useState("");
  const abort = useRef<AbortController | null>(null);
  const [busy, setBusy] = useState(false);
  const end = useRef<HTMLDivElement>(null);

  // A placeholder rather than a value: the list may arrive while somebody starts to type.
  const first = models.data?.models[0]?.id ?? "";
  const model = typed || first;
  useEffect(() => end.current?.scrollIntoView({ block: "nearest" }), [turns]);
  useEffect(() => () => abort.current?.abort(), []);
  useEffect(() => {
    const { item, query } = place.value;
    if (item) void replay(item, query.get("c"));
  }, []);

  async function replay(id: string, conversation: string | null): Promise<void> {
    try {
      const found = await get<{ model: string; messages: Turn[]; params?: Params }>(`admin/requests/${encodeURIComponent(id)}${conversation ? `?conversation=${encodeURIComponent(conversation)}` : ""}`);
      const asked = found.params ?? {};
      setTyped(found.model);
      setTurns(found.messages);
      setParams(Object.keys(asked).length > 0 ? JSON.stringify(asked, null, 2) : "");
      await run(found.model, found.messages, asked);
    } catch (error) {
      tellError(error);
    }
  }

  async function run(asked: string, history: Turn[], more: Params): Promise<void> {
    const controller = new AbortController();
    abort.current = controller;
    setBusy(true);
    const answer: Turn = { role: "assistant", content: "", tools: [] };
    const show = () => setTurns([...history, { ...answer }]);
    const begun = performance.now();
    let first = 0;
    let used = "";
    show();
    try {
      const messages = [...(system ? [{ role: "system", content: system }] : []), ...history.filter((turn) => !turn.failed).map(({ note: _, tools: __, failed: ___, ...turn }) => turn)];
      const body = { ...more, model: asked, messages, stream: true, stream_options: { include_usage: true } };
      const response = await request("admin/v1/chat/completions", { method: "POST", body, signal: controller.signal });
      for await (const chunk of chunks(response)) {
        if (chunk.error) throw new Error(chunk.error.message ?? "The answer broke off.");
        const delta = chunk.choices?.[0]?.delta;
        if (delta?.content) {
          first ||= performance.now() - begun;
          answer.content = `${answer.content as string}${delta.content}`;
        }
        if (chunk.proxy_status?.tool_name && chunk.proxy_status.status === "executing_tool") answer.tools?.push(chunk.proxy_status.tool_name);
        if (chunk.usage) used = `, ${count(chunk.usage.prompt_tokens ?? 0)} + ${count(chunk.usage.completion_tokens ?? 0)} tokens`;
        show();
      }
      answer.note = `${duration(performance.now() - begun)}, first word ${duration(first)}${used}`;
    } catch (error) {
      answer.failed = true;
      answer.note = controller.signal.aborted ? "Stopped." : words(error);
    }
    show();
    setBusy(false);
    abort.current = null;
  }

  const submit = (event: Event) => {
    event.preventDefault();
    if (!text.trim() || busy) return;
    const history: Turn[] = [...turns, { role: "user", content: text }];
    const asked = read(params);
    if (asked === null) return;
    setText("");
    void run(model, history, asked);
  };
  const again = () => {
    const asked = read(params);
    if (asked !== null && questions.length > 0) void run(model, questions, asked);
  };
  // Everything up to the last question, to be answered again.
  const questions = turns.slice(0, turns.findLastIndex((turn) => turn.role === "user" || turn.role === "tool") + 1);
  const wrong = read(params) === null;
  return (
    <>
      <Head title="Playground">
        <button type="button" class="button" disabled={questions.length === 0 || busy || wrong} onClick={again}>
          Answer again
        </button>
        <button type="button" class="button" disabled={turns.length === 0 || busy} onClick={() => setTurns([])}>
          New conversation
        </button>
      </Head>
      <div class="play">
        <div class="settings">
          <div class="field">
            <label for="model">Model</label>
            <input id="model" class="input" list="models" placeholder={first} value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
            <datalist id="models">
              {models.data?.models.map((one) => (
                <option key={one.id} value={one.id} />
              ))}
            </datalist>
            <a href={link("models", model)}>Why requests go there</a>
          </div>
          <div class="field">
            <label for="system">System prompt</label>
            <textarea id="system" class="input" rows={4} value={system} onInput={(event) => setSystem(event.currentTarget.value)} />
          </div>
          <div class="field">
            <label for="params">Parameters</label>
            <textarea id="params" class="input mono" rows={4} placeholder={'{"temperature": 0.2}'} aria-invalid={wrong} aria-describedby="params-note" value={params} onInput={(event) => setParams(event.currentTarget.value)} />
            <small id="params-note" class={wrong ? "bad-text" : "faint"}>
              {wrong ? "This is not a JSON object." : "As JSON; empty: as the model has them."}
            </small>
          </div>
        </div>
        <div class="chat">
          <div class="talk" role="log" aria-label="Conversation" tabIndex={0}>
            {turns.length === 0 ? <p class="soft">Say something to {model || "a model"}. What you try here is logged like every request.</p> : null}
            {turns.map((turn, index) => (
              <div key={index} class={`said ${turn.failed ? "error" : turn.role}`}>
                <div class="who">
                  <span>{turn.role}</span>
                  {turn.tools?.map((tool, number) => (
                    <span key={number} class="tag">
                      {tool}
                    </span>
                  ))}
                </div>
                <div class="text">{typeof turn.content === "string" ? turn.content : JSON.stringify(turn.content, null, 2)}</div>
                {turn.note ? <div class={turn.failed ? "bad-text" : "faint"}>{turn.note}</div> : null}
              </div>
            ))}
            <div ref={end} />
          </div>
          <form onSubmit={submit}>
            <textarea
              class="input"
              rows={2}
              aria-label="Message"
              placeholder="Message (Enter sends, Shift+Enter begins a line)"
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
              onKeyDown={(event) => {
                if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
              }}
            />
            {busy ? (
              <button type="button" class="button" onClick={() => abort.current?.abort()}>
                Stop
              </button>
            ) : (
              <button type="submit" class="button main" disabled={!text.trim() || !model || wrong}>
                Send
              </button>
            )}
          </form>
        </div>
      </div>
    </>
  );
}

/** The typed parameters; null if they are not a JSON object. */
function read(text: string): Params | null {
  if (!text.trim()) return {};
  try {
    const found: unknown = JSON.parse(text);
    return typeof found === "object" && found !== null && !Array.isArray(found) ? (found as Params) : null;
  } catch {
    return null;
  }
}

/** The events of a streamed answer. */
async function* chunks(response: Response): AsyncGenerator<Chunk> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (reader) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data) as Chunk;
    }
  }
}
