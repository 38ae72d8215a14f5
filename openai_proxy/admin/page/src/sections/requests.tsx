/** Running and past requests; a click opens the conversation. */
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, send } from "../api";
import { count, duration, time } from "../format";
import { ended, refresh, running, status } from "../live";
import { go, link, place } from "../router";
import type { Row } from "../types";
import { useEvery, useGet } from "../ui/load";
import { Empty, Failure, Head, State, tell, tellError } from "../ui/parts";
import { ConversationView } from "./conversation";

interface Answer {
  requests: Row[];
  before: string | null;
}

interface Asked {
  text: string;
  model: string;
  connection: string;
  group: string;
  status: string;
}

const PAGE = 200;

export function Requests() {
  const [filter, setFilter] = useState<Asked>({ text: "", model: "", connection: "", group: "", status: "" });
  const [asked, setAsked] = useState(filter);
  const [old, setOld] = useState<Row[]>([]);
  const [before, setBefore] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [loading, setLoading] = useState(true);
  const open = place.value.item;

  useEffect(() => {
    const timer = setTimeout(() => setAsked(filter), 250);
    return () => clearTimeout(timer);
  }, [filter]);

  const load = useCallback(
    async (cursor: string | null) => {
      const query = new URLSearchParams({ limit: String(PAGE), ...Object.fromEntries(Object.entries(asked).filter(([, value]) => value)) });
      if (cursor !== null) query.set("before", cursor);
      setLoading(true);
      try {
        const found = await get<Answer>(`admin/requests?${query}`);
        setOld((known) => (cursor === null ? found.requests : [...known, ...found.requests]));
        setBefore(found.before);
        setError(null);
      } catch (failure) {
        setError(failure);
      }
      setLoading(false);
    },
    [asked],
  );
  useEffect(() => void load(null), [load]);

  useEvery(2, () => void refresh().catch(() => undefined), running.value.size > 0);
  // Configured groups, and those that still occur in the logs.
  const configured = useGet<{ groups: { name: string }[] }>("admin/groups").data?.groups ?? [];
  const groups = [...new Set([...configured.map((one) => one.name), ...old.map((row) => row.group ?? "")])].filter(Boolean).sort();
  const rows = useMemo(() => merged(old, asked), [old, asked, running.value, ended.value]);

  return (
    <>
      <Head title="Requests">
        <div class="filters" role="search">
          <input class="input search" type="search" placeholder="Search what was said" aria-label="Search what was said" value={filter.text} onInput={(event) => setFilter({ ...filter, text: event.currentTarget.value })} />
          <input class="input" placeholder="Model" aria-label="Filter by model" value={filter.model} onInput={(event) => setFilter({ ...filter, model: event.currentTarget.value })} />
          <Choice label="connection" value={filter.connection} names={status.value?.connections.map((one) => one.name) ?? []} onChange={(connection) => setFilter({ ...filter, connection })} />
          <Choice label="group" value={filter.group} names={groups} onChange={(group) => setFilter({ ...filter, group })} />
          <select class="input" aria-label="Filter by outcome" value={filter.status} onChange={(event) => setFilter({ ...filter, status: event.currentTarget.value })}>
            <option value="">Every outcome</option>
            <option value="ok">Answered</option>
            <option value="failed">Failed</option>
          </select>
          <button type="button" class="button" onClick={() => void load(null)}>
            Refresh
          </button>
        </div>
      </Head>
      <div class={open ? "split open" : "split"}>
        <div class="list">
          <Failure error={error} />
          {rows.length === 0 && !loading ? (
            <div style={{ padding: "0 1.5rem" }}>
              <Empty title="No request matches.">The chat logs are kept as long as log_retention_days says.</Empty>
            </div>
          ) : (
            <Rows rows={rows} open={open} more={before !== null && !loading ? () => void load(before) : null} />
          )}
        </div>
        {open ? <Detail key={open} id={open} row={rows.find((row) => row.id === open)} /> : null}
      </div>
    </>
  );
}

function Choice({ label, value, names, onChange }: { label: string; value: string; names: string[]; onChange: (name: string) => void }) {
  return (
    <select class="input" aria-label={`Filter by ${label}`} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      <option value="">{`Every ${label}`}</option>
      {names.map((name) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </select>
  );
}

/** Running requests, those that ended while the page was open, and those in the logs, each once, newest first. */
function merged(old: Row[], asked: Asked): Row[] {
  const known = new Map(old.map((row) => [row.id, row]));
  const fresh: Row[] = [];
  const fits = (row: Row) => (!asked.connection || row.connection === asked.connection) && (!asked.group || row.group === asked.group) && (!asked.model || (row.model ?? "").toLowerCase().includes(asked.model.toLowerCase())) && !asked.text && (!asked.status || (asked.status === "failed") === (row.error !== null));
  for (const one of running.value.values()) {
    const row = { ...known.get(one.id), ...blank(one.id), model: one.model, connection: one.connection, group: one.group, at: Date.parse(one.since) / 1000, state: one.state, finished: false } as Row;
    if (fits(row)) fresh.push(row);
    known.delete(one.id);
  }
  for (const row of ended.value) if (!known.has(row.id) && fits(row)) fresh.push(row);
  return [...fresh, ...known.values()].sort((a, b) => b.at - a.at);
}

function blank(id: string): Row {
  return { id, conversation_id: null, at: 0, model: null, connection: null, upstream_model: null, group: null, key_id: null, asked: "", answered: "", stream: null, status: null, outcome: null, error: null, finish_reason: null, input_tokens: 0, output_tokens: 0, estimated: false, duration_ms: null, ttft_ms: null, attempts: 1, tools: 0, finished: false };
}

function Outcome({ row }: { row: Row }) {
  if (row.state) return <State tone="busy">{row.state}</State>;
  if (!row.finished) return <State tone="off">no end</State>;
  if (row.error !== null) return <State tone="bad">failed</State>;
  return row.outcome === "done" || row.outcome === null ? <State tone="good">answered</State> : <State tone="warn">{row.outcome.replace("_", " ")}</State>;
}

/** Only visible rows are in the document, so ten thousand cost no more than thirty. */
function Rows({ rows, open, more }: { rows: Row[]; open: string; more: (() => void) | null }) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 800, row: 36 });
  useEffect(() => {
    const scroller = box.current?.parentElement;
    if (!scroller) return undefined;
    const look = () => {
      const size = getComputedStyle(document.documentElement);
      setView({ top: scroller.scrollTop, height: scroller.clientHeight, row: Number.parseFloat(size.getPropertyValue("--row")) * Number.parseFloat(size.fontSize) });
    };
    look();
    scroller.addEventListener("scroll", look, { passive: true });
    const watch = new ResizeObserver(look);
    watch.observe(scroller);
    return () => {
      scroller.removeEventListener("scroll", look);
      watch.disconnect();
    };
  }, []);
  const first = Math.max(0, Math.floor(view.top / view.row) - 10);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / view.row) + 10);
  useEffect(() => {
    if (more !== null && last >= rows.length - 5) more();
  }, [last, rows.length, more === null]);
  return (
    <div ref={box} class="rows" role="list" aria-label="Requests" style={{ height: `${rows.length * view.row}px` }}>
      {rows.slice(first, last).map((row, index) => (
        <div key={row.id} role="listitem" aria-setsize={rows.length} aria-posinset={first + index + 1}>
          <a class="row" href={link("requests", row.id, row.conversation_id ? { c: row.conversation_id } : {})} aria-current={row.id === open} style={{ top: `${(first + index) * view.row}px` }}>
            <span class="num" style={{ textAlign: "left" }}>{time(row.at)}</span>
            <Outcome row={row} />
            <span class="cut">{row.model ?? row.connection ?? "unknown model"}</span>
            <span class="cut soft wide-only">{row.error ?? (row.asked || row.answered)}</span>
            <span class="num soft wide-only">{row.input_tokens + row.output_tokens > 0 ? `${row.estimated ? "~" : ""}${count(row.input_tokens)} + ${count(row.output_tokens)}` : ""}</span>
            <span class="num wide-only">{duration(row.state ? Date.now() - row.at * 1000 : row.duration_ms)}</span>
          </a>
        </div>
      ))}
    </div>
  );
}

function Detail({ id, row }: { id: string; row: Row | undefined }) {
  const [conversation, setConversation] = useState<string | null>(row?.conversation_id ?? place.value.query.get("c"));
  const [error, setError] = useState<unknown>(null);
  const find = useCallback(async () => {
    try {
      setConversation((await get<{ conversation_id: string }>(`admin/requests/${encodeURIComponent(id)}`)).conversation_id);
      setError(null);
    } catch (failure) {
      setError(failure);
    }
  }, [id]);
  useEffect(() => {
    if (conversation === null) void find();
  }, [conversation, find]);
  const cancel = async () => {
    try {
      await send("POST", `admin/requests/${encodeURIComponent(id)}/cancel`);
      tell("The request is being cancelled.");
    } catch (failure) {
      tellError(failure);
    }
  };
  return (
    <article class="detail" aria-label="Conversation">
      <div class="detail-head">
        <h2 class="cut">{row?.model ?? "Conversation"}</h2>
        {row?.state ? (
          <button type="button" class="button small risky" onClick={cancel}>
            Cancel request
          </button>
        ) : null}
        <button type="button" class="button small" onClick={() => go("playground", id, conversation ? { c: conversation } : {})}>
          Replay
        </button>
        <a class="button small" href={link("requests")}>
          Close
        </a>
      </div>
      {error !== null ? (
        <div style={{ padding: "1rem" }}>
          <Empty title="This request is not in the chat logs.">
            It may not be a chat, or it has not been written yet.{" "}
            <button type="button" class="plain" onClick={() => void find()}>
              Look again
            </button>
          </Empty>
        </div>
      ) : conversation === null ? (
        <p style={{ padding: "1rem" }}>Looking for its conversation …</p>
      ) : (
        <ConversationView id={conversation} request={id} live={row?.state !== undefined} />
      )}
    </article>
  );
}
