/** The overview: what needs attention, activity, costs. */
import { useEffect, useRef, useState } from "preact/hooks";
import { count, duration, money, time } from "../format";
import { running, status } from "../live";
import { link } from "../router";
import { isDark } from "../theme";
import type { Latency, Usage, UsageRow } from "../types";
import type { ChartData } from "../ui/chart";
import { useEvery, useGet } from "../ui/load";
import { Empty, Head, Segments, State, toneOf, When } from "../ui/parts";

export function Overview() {
  const now = status.value;
  return (
    <>
      <Head title="Overview">
        {now === null ? null : (
          <span class="soft">
            configuration {now.config.generation}, loaded <When at={now.config.loaded_at} />; up since <When at={now.started_at} />
          </span>
        )}
      </Head>
      <Attention />
      <Figures />
      <Waiting />
      <Parts />
    </>
  );
}

function Attention() {
  const now = status.value;
  if (now === null) return null;
  const connections = now.connections.filter((one) => one.state !== "ready");
  const servers = now.mcp_servers.filter((one) => !["ready", "disabled", "starting"].includes(one.state));
  if (now.config.problems.length + connections.length + servers.length === 0)
    return (
      <section class="block">
        <State tone="good">All is well: nothing needs attention.</State>
      </section>
    );
  return (
    <section class="block" aria-label="What needs attention">
      <h2>Needs attention</h2>
      <ul class="sheet list">
        {now.config.problems.map((problem) => (
          <li key={`${problem.file}:${problem.line}:${problem.message}`}>
            <State tone={problem.severity === "warning" ? "warn" : "bad"}>Configuration</State>
            <span>
              {problem.message} <a href={link("config", below(problem.file), { line: String(problem.line) })}>{`${below(problem.file)}, line ${problem.line}`}</a>
            </span>
          </li>
        ))}
        {connections.map((one) => (
          <li key={`c-${one.name}`}>
            <State tone={toneOf(one.state)}>Connection</State>
            <span>
              {one.name} is {one.state}. {one.last_error ?? (one.resting_models.length > 0 ? `Resting: ${one.resting_models.join(", ")}` : "")}
            </span>
          </li>
        ))}
        {servers.map((one) => (
          <li key={`m-${one.name}`}>
            <State tone={toneOf(one.state)}>MCP server</State>
            <span>
              <a href={link("mcp", one.name)}>{one.name}</a> is {one.state}. {one.last_error}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** The path of a file below conf/, as the editor names it. */
function below(file: string): string {
  const found = /(?:^|\/)((?:models|mcp|skills|tools)\/.*|[^/]+)$/.exec(file);
  return found?.[1] ?? file;
}

const SPANS = [["7d", "Week"], ["30d", "Month"], ["90d", "Quarter"]] as const;

function Figures() {
  const [since, setSince] = useState<(typeof SPANS)[number][0]>("30d");
  const usage = useGet<Usage>(`admin/usage?by=day&since=${since}`);
  const models = useGet<Usage>(`admin/usage?by=model&since=${since}`);
  useEvery(30, usage.again);
  const total = usage.data?.total;
  const top = [...(models.data?.rows ?? [])].sort((a, b) => b.requests - a.requests).slice(0, 6);
  return (
    <section class="block" aria-label="Usage">
      <div class="block-head">
        <h2>Usage</h2>
        <span class="spring" />
        <Segments label="Span" value={since} options={SPANS} onChange={setSince} />
      </div>
      <dl class="figures">
        <Figure name="Running now" value={count(running.value.size)} />
        <Figure name="Requests" value={count(total?.requests ?? 0)} />
        <Figure name="Tokens in" value={count(total?.input_tokens ?? 0)} more={total && total.cached_tokens > 0 ? `${count(total.cached_tokens)} cached` : ""} />
        <Figure name="Tokens out" value={count(total?.output_tokens ?? 0)} />
        <Figure name="Cost" value={money(total?.cost, usage.data?.currency)} />
      </dl>
      {(usage.data?.rows.length ?? 0) > 0 ? (
        <Tokens rows={everyDay(usage.data?.rows ?? [], Number.parseInt(since, 10))} />
      ) : (
        <Empty title="No request has been counted yet.">
          Enter this proxy in a client (<a href={link("models")}>Models</a> shows how), or try a model in the <a href={link("playground")}>Playground</a>.
        </Empty>
      )}
      {top.length > 0 ? (
        <div class="scroll-x" tabIndex={0} role="region" aria-label="Usage by model">
          <table>
            <thead>
              <tr>
                <th>Model</th>
                <th class="num">Requests</th>
                <th class="num">Tokens in</th>
                <th class="num">Tokens out</th>
                <th class="num">Cost</th>
              </tr>
            </thead>
            <tbody>
              {top.map((row) => (
                <tr key={String(row.model)}>
                  <td>{row.model}</td>
                  <td class="num">{count(row.requests)}</td>
                  <td class="num">{count(row.input_tokens)}</td>
                  <td class="num">{count(row.output_tokens)}</td>
                  <td class="num">{money(row.cost, models.data?.currency)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : null}
    </section>
  );
}

/** The last `days` days, including those without requests. */
function everyDay(rows: UsageRow[], days: number): [string, number, number][] {
  const known = new Map(rows.map((row) => [String(row.day), row]));
  return Array.from({ length: days }, (_, index) => {
    const day = new Date(Date.now() - (days - 1 - index) * 86_400_000).toISOString().slice(0, 10);
    const row = known.get(day);
    return [day, row?.input_tokens ?? 0, row?.output_tokens ?? 0];
  });
}

function Figure({ name, value, more = "" }: { name: string; value: string; more?: string }) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd>
        {value} {more === "" ? null : <small>{more}</small>}
      </dd>
    </div>
  );
}

function Tokens({ rows }: { rows: [string, number, number][] }) {
  const last = rows.at(-1);
  const words = last ? `Tokens in and out by day; on ${last[0]} ${count(last[1])} in, ${count(last[2])} out` : "Tokens by day";
  return (
    <Chart
      words={words}
      data={{
        at: rows.map(([day]) => Date.parse(`${day}T12:00:00Z`) / 1000),
        series: [
          { label: "Tokens in", colour: "--series-1", values: rows.map((row) => row[1]) },
          { label: "Tokens out", colour: "--series-2", values: rows.map((row) => row[2]) },
        ],
        kind: "bars",
        show: count,
        moment: (at) => at.toLocaleDateString(),
        least: 10,
      }}
    />
  );
}

const LATENCY_SPANS = [["1d", "Day"], ["7d", "Week"], ["31d", "Month"]] as const;

/** Latency by hour, or by day for longer spans. */
function Waiting() {
  const [since, setSince] = useState<(typeof LATENCY_SPANS)[number][0]>("1d");
  const by = since === "31d" ? "day" : "hour";
  const found = useGet<Latency>(`admin/latency?since=${since}&by=${by}`);
  useEvery(30, found.again);
  const rows = found.data?.rows ?? [];
  const last = rows.at(-1);
  const inMs = (seconds: number | null | undefined) => (seconds === null || seconds === undefined ? null : seconds * 1000);
  const words = last ? `Time to the first word and to the end; lately ${duration(inMs(last.first_p50))} and ${duration(inMs(last.p50))} for half of the answers` : "Time to the first word";
  return (
    <section class="block" aria-label="Latency">
      <div class="block-head">
        <h2>Latency</h2>
        <span class="spring" />
        <Segments label="Span of latency" value={since} options={LATENCY_SPANS} onChange={setSince} />
      </div>
      {last === undefined ? (
        <p class="soft">No answer has been timed in this span.</p>
      ) : (
        <>
          <dl class="figures">
            <Figure name={`First word, half of the answers, last ${by}`} value={duration(inMs(last.first_p50))} />
            <Figure name="First word, 95 of 100" value={duration(inMs(last.first_p95))} />
            <Figure name="Whole answer, half of them" value={duration(inMs(last.p50))} />
            <Figure name="Whole answer, 95 of 100" value={duration(inMs(last.p95))} />
          </dl>
          <Chart
            words={words}
            data={{
              at: rows.map((row) => row.at),
              series: [
                { label: "First word, half", colour: "--series-1", values: rows.map((row) => row.first_p50) },
                { label: "First word, 95 of 100", colour: "--series-2", values: rows.map((row) => row.first_p95) },
                { label: "Whole answer, half", colour: "--ink-soft", values: rows.map((row) => row.p50) },
              ],
              kind: "lines",
              show: (seconds) => duration(seconds * 1000),
              moment: (at) => (by === "day" ? at.toLocaleDateString() : at.toLocaleString(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" })),
              least: 0.1,
            }}
          />
        </>
      )}
    </section>
  );
}

function Chart({ data, words }: { data: ChartData; words: string }) {
  const box = useRef<HTMLDivElement>(null);
  const dark = isDark.value;
  useEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    let end = () => {};
    let gone = false;
    void import("../ui/chart").then(({ draw }) => {
      if (!gone) end = draw(element, data);
    }, () => undefined); // the daemon went away meanwhile; the next update tries again
    return () => {
      gone = true;
      end();
    };
  }, [JSON.stringify([data.at, data.series]), dark]);
  return <div ref={box} class="chart" role="img" aria-label={words} />;
}

function Parts() {
  const now = status.value;
  if (now === null) return null;
  return (
    <section class="block" aria-label="Connections">
      <h2>Connections</h2>
      <div class="scroll-x" tabIndex={0} role="region" aria-label="Connections">
        <table>
          <thead>
            <tr>
              <th>Name</th>
              <th>State</th>
              <th>Type</th>
              <th class="num">Models</th>
              <th class="num">Keys</th>
              <th>Last failure</th>
            </tr>
          </thead>
          <tbody>
            {now.connections.map((one) => (
              <tr key={one.name}>
                <td>{one.name}</td>
                <td>
                  <State tone={toneOf(one.state)}>{one.state}</State>
                </td>
                <td class="soft">{one.api_type}</td>
                <td class="num">{count(one.models)}</td>
                <td class="num">{one.resting_keys > 0 ? `${one.keys - one.resting_keys} of ${one.keys}` : one.keys}</td>
                <td class="soft">{one.last_error ?? "none"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {now.wyoming ? (
        <p>
          Voice satellites on port {now.wyoming.port}: {now.wyoming.stt ? `transcription by ${now.wyoming.stt}` : ""}
          {now.wyoming.stt && now.wyoming.tts ? ", " : ""}
          {now.wyoming.tts ? `speech by ${now.wyoming.tts}` : ""}; {now.wyoming.clients} connected.
        </p>
      ) : null}
      <p class="faint">As of {time(Date.now() / 1000)}</p>
    </section>
  );
}
