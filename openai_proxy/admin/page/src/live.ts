/** Live data from the daemon: its status, running requests, those that ended recently. */
import { batch, computed, signal } from "@preact/signals";
import { get, signedIn } from "./api";
import type { LiveEvent, McpServer, Row, Running, Status } from "./types";

const KEPT_ENDED = 500;
const KEPT_EVENTS = 500;
const RETRY = 2000;
/** Milliseconds between two repaints: nobody reads faster, and sixty events a second must not cause sixty repaints. */
const PACE = 150;

export const status = signal<Status | null>(null);
export const running = signal<ReadonlyMap<string, Running>>(new Map());
export const ended = signal<readonly Row[]>([]);
export const events = signal<readonly LiveEvent[]>([]);
/** Since when the daemon has been unreachable, null while it is reachable. */
export const lostSince = signal<number | null>(null);
export const connected = signal(false);

export const attention = computed(() => {
  const now = status.value;
  if (now === null) return 0;
  return (
    now.config.problems.length +
    now.connections.filter((c) => c.state !== "ready").length +
    now.mcp_servers.filter((s) => !["ready", "disabled", "starting"].includes(s.state)).length
  );
});

let source: EventSource | null = null;
let waiting: LiveEvent[] = [];
let timer = 0;
let applied = 0;
let retry = 0;

/** Listen until `stop`; reconnects by itself. */
export function listen(): void {
  stop();
  source = new EventSource("admin/events");
  source.onopen = () => {
    connected.value = true;
    lostSince.value = null;
  };
  source.onerror = () => {
    lost();
    // A browser retries a broken stream, but not one that was refused.
    if (source?.readyState === EventSource.CLOSED) again();
  };
  for (const kind of ["status", "reload", "mcp_server", "request", "tool_call", "dropped", "log"]) {
    source.addEventListener(kind, (event) => {
      waiting.push({ kind, ts: Date.now() / 1000, ...(JSON.parse((event as MessageEvent<string>).data) as object) });
      if (timer === 0) timer = window.setTimeout(apply, Math.max(0, applied + PACE - performance.now()));
      // The timers of a page in the background are slow, and it must not gather a day of events.
      if (waiting.length > KEPT_EVENTS) apply();
    });
  }
}

export function stop(): void {
  source?.close();
  source = null;
  clearTimeout(retry);
}

function lost(): void {
  connected.value = false;
  lostSince.value ??= Date.now();
}

function again(): void {
  stop();
  retry = window.setTimeout(async () => {
    try {
      const session = await get<{ signed_in: boolean }>("admin/session");
      if (session.signed_in) listen();
      else signedIn.value = "out";
    } catch {
      again();
    }
  }, RETRY);
}

/** Everything since the last time, at once. */
function apply(): void {
  clearTimeout(timer);
  timer = 0;
  applied = performance.now();
  const news = waiting;
  waiting = [];
  batch(() => {
    const now = new Map(running.value);
    const over: Row[] = [];
    for (const event of news) take(event, now, over);
    running.value = now;
    if (over.length > 0) ended.value = [...over.reverse(), ...ended.value].slice(0, KEPT_ENDED);
    const told = news.filter((event) => event.kind !== "status").reverse();
    if (told.length > 0) events.value = [...told, ...events.value].slice(0, KEPT_EVENTS);
  });
}

function take(event: LiveEvent, now: Map<string, Running>, over: Row[]): void {
  if (event.kind === "status") {
    status.value = event as unknown as Status;
    now.clear();
    for (const one of status.value.requests) now.set(one.id, one);
  } else if (event.kind === "request" && event.state === "begin") {
    now.set(String(event.id), {
      id: String(event.id),
      model: event.model as string | null,
      state: "accepted",
      since: new Date(event.ts * 1000).toISOString(),
      path: String(event.path),
      connection: null,
      group: event.group as string | null,
    });
  } else if (event.kind === "request" && event.state === "end") {
    const began = now.get(String(event.id));
    now.delete(String(event.id));
    over.push(endedRow(event, began));
  } else if (event.kind === "mcp_server" && status.value !== null) {
    const server = event as unknown as McpServer;
    const others = status.value.mcp_servers.filter((known) => known.name !== server.name);
    const servers = [...others, server].sort((a, b) => a.name.localeCompare(b.name));
    status.value = { ...status.value, mcp_servers: servers };
  } else if (event.kind === "reload") {
    void refresh();
  }
}

function endedRow(event: LiveEvent, began: Running | undefined): Row {
  const seconds = Number(event.seconds ?? 0);
  const failed = event.error !== null && event.error !== undefined;
  return {
    id: String(event.id),
    conversation_id: (event.conversation_id as string | undefined) ?? null,
    at: event.ts - seconds,
    model: (event.model as string | null) ?? began?.model ?? null,
    connection: event.connection as string | null,
    upstream_model: null,
    group: began?.group ?? null,
    key_id: null,
    asked: "",
    answered: "",
    stream: null,
    status: event.status as number | null,
    outcome: event.outcome as string | null,
    error: failed ? String(event.error) : null,
    finish_reason: null,
    input_tokens: 0,
    output_tokens: 0,
    estimated: false,
    duration_ms: seconds * 1000,
    ttft_ms: null,
    attempts: Array.isArray(event.attempts) ? event.attempts.length : 1,
    tools: 0,
    finished: true,
  };
}

/** Request the status now: after a reload, or to see what running requests are doing. */
export async function refresh(): Promise<void> {
  const found = await get<Status>("admin/status");
  batch(() => {
    status.value = found;
    running.value = new Map(found.requests.map((one) => [one.id, one]));
  });
}
