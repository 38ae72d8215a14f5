/** A conversation as a chat. Output of models and tools is shown as text, never as markup. */
import { useEffect, useRef, useState } from "preact/hooks";
import { count, duration, plural, time } from "../format";
import type { Conversation, Item } from "../types";
import { useEvery, useGet } from "../ui/load";
import { Failure, State } from "../ui/parts";

/** Characters of a text that are shown initially: a browser takes long to lay out megabytes. */
const SHORT = 4000;
const LONG = 500_000;

export function ConversationView({ id, request, live }: { id: string; request: string; live: boolean }) {
  const [most, setMost] = useState(SHORT);
  const found = useGet<Conversation>(`admin/conversations/${encodeURIComponent(id)}?text=${most}`);
  const here = useRef<HTMLDivElement>(null);
  useEvery(2, found.again, live);
  useEffect(() => {
    if (!live) found.again();
  }, [live]);
  useEffect(() => {
    here.current?.scrollIntoView({ block: "nearest" });
  }, [found.data?.items.length]);
  const data = found.data;
  if (data === null) return found.error ? <Failure error={found.error} /> : <p style={{ padding: "1rem" }}>Reading …</p>;
  const last = data.items.findLastIndex((item) => item.request_id === request);
  return (
    <div class="talk">
      <p class="soft">
        {data.models.join(", ")} · {time(data.first)} to {time(data.last)} · {plural(data.turns, "turn")} · {count(data.input_tokens)} tokens in, {count(data.output_tokens)} out
        {data.errors > 0 ? ` · ${data.errors} failed` : ""}
      </p>
      {most === SHORT && data.items.some((item) => item.text_length || item.result_length) ? (
        <p>
          <button type="button" class="button small" onClick={() => setMost(LONG)}>
            Show long texts whole
          </button>
        </p>
      ) : null}
      {data.left_out > 0 ? <p class="faint">{plural(data.left_out, "earlier item")} left out.</p> : null}
      {data.items.map((item, index) => (
        <div key={index} ref={index === last ? here : null} class="turn">
          <Said item={item} here={item.request_id === request} />
        </div>
      ))}
    </div>
  );
}

function Said({ item, here }: { item: Item; here: boolean }) {
  const who = item.kind === "message" ? (item.role ?? "message") : item.kind === "answer" ? "assistant" : item.kind === "tool_call" ? "tool" : "error";
  return (
    <div class={`said ${who}${here ? " here" : ""}`}>
      <div class="who">
        <span>{item.kind === "tool_call" ? item.tool : who}</span>
        <time>{time(item.at)}</time>
        {item.kind === "tool_call" ? <State tone={item.status === "ok" ? "good" : "bad"}>{`${item.status}, ${duration(item.duration_ms)}`}</State> : null}
      </div>
      {item.reasoning ? (
        <details>
          <summary>Thoughts</summary>
          <div class="text soft">{item.reasoning}</div>
        </details>
      ) : null}
      {who === "system" ? (
        <details>
          <summary>{plural(item.text_length ?? item.text?.length ?? 0, "character")}</summary>
          <div class="text">{item.text}</div>
        </details>
      ) : (
        <Text text={item.text} length={item.text_length} />
      )}
      {item.tool_calls?.map((call, index) => (
        <details key={index}>
          <summary>calls {call.name}</summary>
          <pre class="code">{pretty(call.arguments)}</pre>
        </details>
      ))}
      {item.kind === "tool_call" ? (
        <details>
          <summary>Arguments and result</summary>
          <pre class="code">{pretty(item.arguments)}</pre>
          <pre class="code">{pretty(item.result)}</pre>
        </details>
      ) : null}
      {item.kind === "answer" || item.kind === "error" ? <Facts item={item} /> : null}
    </div>
  );
}

function Text({ text, length }: { text: string | undefined; length: number | undefined }) {
  if (!text) return null;
  return (
    <div class="text">
      {text}
      {length ? <span class="faint">{` … (${count(length - text.length)} more characters)`}</span> : null}
    </div>
  );
}

function Facts({ item }: { item: Item }) {
  const total = item.duration_ms ?? 0;
  const first = item.ttft_ms ?? 0;
  return (
    <details>
      <summary>
        {duration(item.duration_ms)}
        {item.ttft_ms === undefined ? "" : `, first byte ${duration(item.ttft_ms)}`}
        {item.input_tokens ? `, ${item.estimated ? "about " : ""}${count(item.input_tokens)} + ${count(item.output_tokens ?? 0)} tokens` : ""}
        {item.connection ? `, ${item.connection}` : ""}
      </summary>
      {total > 0 ? (
        <div class="times" role="img" aria-label={`first byte after ${duration(first)} of ${duration(total)}`}>
          <i style={{ width: `${(100 * first) / total}%` }} />
          <i style={{ width: `${(100 * (total - first)) / total}%` }} />
        </div>
      ) : null}
      <dl class="facts">
        <dt>Request</dt>
        <dd class="mono">{item.request_id}</dd>
        <dt>Model</dt>
        <dd>{item.upstream_model ?? item.model}</dd>
        <dt>Status</dt>
        <dd>{[item.status, item.code, item.finish_reason].filter(Boolean).join(", ")}</dd>
        {item.attempts?.map((attempt, index) => (
          <>
            <dt>Attempt {index + 1}</dt>
            <dd>
              {attempt.connection} {attempt.model}: {attempt.error ?? attempt.status ?? "no answer"}, {duration(attempt.duration_ms)}
            </dd>
          </>
        ))}
      </dl>
    </details>
  );
}

export function pretty(text: string | undefined): string {
  if (!text) return "";
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
