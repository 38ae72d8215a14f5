/** Live events; the requests in the chat logs are under Requests. */
import { useState } from "preact/hooks";
import { count, time } from "../format";
import { events, status } from "../live";
import type { LiveEvent } from "../types";
import { Empty, Head, Segments, State, type Tone } from "../ui/parts";

const KINDS = [["", "Everything"], ["request", "Requests"], ["tool_call", "Tools"], ["mcp_server", "MCP"], ["reload", "Reloads"]] as const;

export function Logs() {
  const [kind, setKind] = useState<(typeof KINDS)[number][0]>("");
  const shown = events.value.filter((event) => kind === "" || event.kind === kind);
  return (
    <>
      <Head title="Logs and events">
        <Segments label="Kind of event" value={kind} options={KINDS} onChange={setKind} />
      </Head>
      {shown.length === 0 ? (
        <Empty title="Nothing has happened since this page was opened.">
          Requests, tool calls, reloads and MCP servers appear here at once. The daemon's own log is on its stderr
          {status.value === null ? "" : ", or in the journal"}.
        </Empty>
      ) : (
        <div class="scroll-x" tabIndex={0} role="region" aria-label="Events">
          <table>
            <thead>
              <tr>
                <th>Time</th>
                <th>Event</th>
                <th>What</th>
              </tr>
            </thead>
            <tbody>
              {shown.slice(0, 300).map((event, index) => (
                <tr key={`${event.ts}-${index}`}>
                  <td class="num" style={{ textAlign: "left" }}>
                    {time(event.ts)}
                  </td>
                  <td>
                    <State tone={tone(event)}>{event.kind.replace("_", " ")}</State>
                  </td>
                  <td class="soft">{words(event)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {shown.length > 300 ? <p class="faint">Showing the last 300 of {count(shown.length)}.</p> : null}
        </div>
      )}
    </>
  );
}

function tone(event: LiveEvent): Tone {
  if (event.kind === "dropped" || event.error) return "bad";
  if (event.kind === "request") return event.state === "begin" ? "busy" : "good";
  if (event.kind === "reload") return Array.isArray(event.problems) && event.problems.length > 0 ? "warn" : "good";
  if (event.kind === "mcp_server") return event.state === "ready" ? "good" : "warn";
  return "off";
}

function words(event: LiveEvent): string {
  const { kind, ts: _, ...rest } = event;
  if (kind === "request")
    return event.state === "begin" ? `${event.model ?? event.path} begins` : `${event.model ?? ""} by ${event.connection ?? "nobody"}: ${event.error ?? event.outcome}, status ${event.status}, ${event.seconds} s`;
  if (kind === "mcp_server") return `${event.name} is ${event.state}${event.last_error ? `: ${event.last_error}` : ""}`;
  if (kind === "reload") {
    const parts = (["added", "removed", "updated"] as const).filter((name) => (event[name] as unknown[] | undefined)?.length).map((name) => `${name} ${(event[name] as string[]).join(", ")}`);
    return parts.join("; ") || "nothing changed";
  }
  if (kind === "dropped") return `${event.events} events were lost: this page was too slow`;
  return JSON.stringify(rest).slice(0, 400);
}
