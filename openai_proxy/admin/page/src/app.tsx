/** The frame: sign-in state, navigation, and the open section. */
import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, send, signedIn } from "./api";
import { time } from "./format";
import icon from "./icon.svg";
import { attention, connected, listen, lostSince, running, status, stop } from "./live";
import { link, place } from "./router";
import { Login } from "./sections/login";
import { Overview } from "./sections/overview";
import { choose, isDark } from "./theme";
import { tellError, Toasts } from "./ui/parts";

type Section = ComponentType;

interface Entry {
  id: string;
  title: string;
  path: string;
  load: () => Promise<Section>;
}

/** Each with the strokes of its icon; a section is loaded when it is first opened. */
const SECTIONS: readonly Entry[] = [
  { id: "overview", title: "Overview", path: "M2 9l6-6 6 6M4 8v6h8V8", load: async () => Overview },
  { id: "requests", title: "Requests", path: "M2 4h12M2 8h12M2 12h8", load: async () => (await import("./sections/requests")).Requests },
  { id: "playground", title: "Playground", path: "M2 3h12v8H7l-3 3v-3H2z", load: async () => (await import("./sections/playground")).Playground },
  { id: "models", title: "Models", path: "M8 2l6 3v6l-6 3-6-3V5zM2 5l6 3 6-3M8 8v6", load: async () => (await import("./sections/models")).Models },
  { id: "mcp", title: "MCP servers", path: "M3 3h10v4H3zM3 9h10v4H3zM5.5 5h.01M5.5 11h.01", load: async () => (await import("./sections/mcp")).McpServers },
  { id: "keys", title: "Keys and budgets", path: "M10 6a3 3 0 1 0-2.5 3L3 13.5V15h2v-2h2v-2l1.5-1.5A3 3 0 0 0 10 6z", load: async () => (await import("./sections/keys")).Keys },
  { id: "config", title: "Configuration", path: "M3 2h7l3 3v9H3zM6 8h4M6 11h4", load: async () => (await import("./sections/config")).Configuration },
  { id: "logs", title: "Logs and events", path: "M2 3h12v10H2zM4 7l2 1.5L4 10M8 10h4", load: async () => (await import("./sections/logs")).Logs },
];

export function App() {
  useEffect(() => {
    void look();
  }, []);
  useEffect(() => {
    if (signedIn.value === "in") listen();
    return stop;
  }, [signedIn.value]);
  if (signedIn.value === "unknown") return <Waiting />;
  return signedIn.value === "out" ? <Login /> : <Frame />;
}

async function look(): Promise<void> {
  try {
    signedIn.value = (await get<{ signed_in: boolean }>("admin/session")).signed_in ? "in" : "out";
    lostSince.value = null;
  } catch {
    lostSince.value ??= Date.now();
    setTimeout(() => void look(), 2000);
  }
}

function Waiting() {
  return (
    <main class="login" aria-busy="true">
      {lostSince.value === null ? null : <p role="alert">The daemon does not answer. Trying again.</p>}
    </main>
  );
}

function Frame() {
  const entry = SECTIONS.find((known) => known.id === place.value.section) ?? SECTIONS[0]!;
  return (
    <div class={lostSince.value === null ? "frame" : "frame stale"}>
      <a class="skip" href="#main" onClick={skip}>
        Skip to content
      </a>
      <Rail current={entry.id} />
      <div class="stage">
        {lostSince.value === null ? null : (
          <p class="banner" role="alert">
            The daemon has not answered since {time(lostSince.value / 1000)}. What is shown is of then; trying again.
          </p>
        )}
        <Open key={entry.id} entry={entry} />
      </div>
      <Toasts />
    </div>
  );
}

function skip(event: Event): void {
  event.preventDefault();
  document.querySelector<HTMLElement>("main")?.focus();
}

function Open({ entry }: { entry: Entry }) {
  const [Found, setFound] = useState<Section | null>(null);
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    document.title = `${entry.title} · openai_proxy`;
    let gone = false;
    entry.load().then(
      (section) => {
        if (!gone) setFound(() => section);
      },
      () => tellError(new Error("This part of the page could not be loaded. Reload the page.")),
    );
    return () => {
      gone = true;
    };
  }, [entry]);
  const full = ["requests", "config", "playground"].includes(entry.id);
  return (
    <main id="main" ref={main} tabIndex={-1} class={full ? "full" : ""} aria-busy={Found === null}>
      {Found === null ? null : <Found />}
    </main>
  );
}

function Rail({ current }: { current: string }) {
  return (
    <header class="rail">
      <div class="brand">
        <img src={icon} alt="" />
        <span>openai_proxy</span>
      </div>
      <nav aria-label="Sections">
        <ul>
          {SECTIONS.map((entry) => (
            <li key={entry.id}>
              <a href={link(entry.id)} aria-current={entry.id === current ? "page" : undefined}>
                <svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" stroke-linecap="round" aria-hidden="true">
                  <path d={entry.path} />
                </svg>
                {entry.title}
                <Count id={entry.id} />
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <Foot />
    </header>
  );
}

function Count({ id }: { id: string }) {
  const number = id === "overview" ? attention.value : id === "requests" ? running.value.size : 0;
  if (number === 0) return null;
  return (
    <span class={id === "overview" ? "count bad" : "count"} aria-hidden="true">
      {number}
    </span>
  );
}

function Foot() {
  const signOut = async () => {
    try {
      await send("DELETE", "admin/session");
      signedIn.value = "out";
    } catch (error) {
      tellError(error);
    }
  };
  return (
    <footer>
      <span class={`state ${connected.value ? "good" : "bad"}`}>{connected.value ? "Live" : "Not connected"}</span>
      {status.value === null ? null : <span>Version {status.value.version}</span>}
      <button type="button" class="plain" onClick={() => choose(isDark.value ? "light" : "dark")}>
        {isDark.value ? "Light colours" : "Dark colours"}
      </button>
      <button type="button" class="plain" onClick={signOut}>
        Sign out
      </button>
    </footer>
  );
}
