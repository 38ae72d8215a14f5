/** Keys, their permissions and usage; and the browsers that are signed in. */
import { useState } from "preact/hooks";
import { send } from "../api";
import { ago, count, money } from "../format";
import { link } from "../router";
import { useGet } from "../ui/load";
import { Code, Dialog, Empty, Failure, Head, tell, tellError } from "../ui/parts";

interface Sums {
  requests: number;
  input_tokens: number;
  output_tokens: number;
  cost: number | null;
}

interface Key {
  budgets?: Record<string, { limit: number; spent: number; reserved: number }>;
  id: string;
  label: string;
  variable: boolean;
  revocable: boolean;
  last_used: string | null;
  today: Sums;
  month: Sums;
}

interface Group {
  name: string;
  keys: Key[];
  limits: Record<string, number>;
  allowed_models: string[];
  allowed_connections: string[];
}

interface Groups {
  keys_required: boolean;
  currency: string;
  groups: Group[];
  admin_keys: Key[];
}

interface Session {
  id: string;
  remote: string;
  browser: string;
  by: string;
  last_used: string;
  own: boolean;
}

export function Keys() {
  const found = useGet<Groups>("admin/groups");
  const [making, setMaking] = useState(false);
  const data = found.data;
  const revoke = async (key: Key) => {
    if (!confirm(`Revoke the key ${key.label || key.id}? It is refused from the next request on.`)) return;
    try {
      await send("DELETE", `admin/keys/${key.id}`);
      tell("The key is revoked. Configuration can undo that.");
      found.again();
    } catch (error) {
      tellError(error);
    }
  };
  return (
    <>
      <Head title="Keys and budgets">
        <button type="button" class="button main" onClick={() => setMaking(true)}>
          New key
        </button>
      </Head>
      <Failure error={found.error} />
      {data !== null && !data.keys_required ? (
        <Empty title="No key is required.">Every device of this network is served, nobody from outside. With the first key, every client needs one.</Empty>
      ) : null}
      {data?.groups.map((group) => (
        <section key={group.name} class="block" aria-label={`Group ${group.name}`}>
          <div class="block-head">
            <h2>{group.name}</h2>
            <span class="soft">{rights(group)}</span>
          </div>
          <Limits group={group} currency={data.currency} />
          <KeyTable keys={group.keys} currency={data.currency} onRevoke={revoke} name={`Keys of ${group.name}`} />
        </section>
      ))}
      {data !== null && data.admin_keys.length > 0 ? (
        <section class="block" aria-label="Admin keys">
          <h2>Admin keys</h2>
          <KeyTable keys={data.admin_keys} currency={data.currency} onRevoke={revoke} name="Admin keys" />
        </section>
      ) : null}
      <Sessions />
      {making && data !== null ? (
        <NewKey
          groups={data}
          onClose={() => {
            setMaking(false);
            found.again();
          }}
        />
      ) : null}
    </>
  );
}

function rights(group: Group): string {
  const all = (names: string[]) => names.length === 1 && names[0] === "*";
  const models = all(group.allowed_models) ? "every model" : group.allowed_models.join(", ");
  return all(group.allowed_connections) ? models : `${models}; connections ${group.allowed_connections.join(", ")}`;
}

const PERIODS: Record<string, ["today" | "month", keyof Sums | "tokens"]> = {
  requests_per_day: ["today", "requests"],
  tokens_per_day: ["today", "tokens"],
  cost_per_day: ["today", "cost"],
  cost_per_month: ["month", "cost"],
};

function used(key: Key, limit: string): number | null {
  // Budgets are counted separately: by the calendar, in the daemon's time zone, and shared between daemons.
  const budget = key.budgets?.[limit];
  if (budget !== undefined) return budget.spent;
  const found = PERIODS[limit];
  if (found === undefined) return null;
  const sums = key[found[0]];
  return found[1] === "tokens" ? sums.input_tokens + sums.output_tokens : (sums[found[1]] ?? 0);
}

function Limits({ group, currency }: { group: Group; currency: string }) {
  const limits = Object.entries(group.limits);
  if (limits.length === 0) return null;
  return (
    <dl class="facts" style={{ maxWidth: "36rem", marginBottom: "0.75rem" }}>
      {limits.map(([name, limit]) => {
        const most = Math.max(0, ...group.keys.map((key) => used(key, name) ?? 0));
        const shown = (value: number) => (name.startsWith("cost") ? money(value, currency) : count(value));
        return (
          <>
            <dt>{name.replaceAll("_", " ")}</dt>
            <dd>
              {PERIODS[name] ? `${shown(most)} of ` : ""}
              {shown(limit)} <span class="soft">for each key</span>
              {PERIODS[name] ? (
                <span class="bar" role="img" aria-label={`${Math.round((100 * most) / limit)} % used by the key that used most`}>
                  <i class={most >= limit ? "over" : ""} style={{ width: `${Math.min(100, (100 * most) / limit)}%` }} />
                </span>
              ) : null}
            </dd>
          </>
        );
      })}
    </dl>
  );
}

function KeyTable({ keys, currency, onRevoke, name }: { keys: Key[]; currency: string; onRevoke: (key: Key) => void; name: string }) {
  if (keys.length === 0) return <p class="soft">No key yet.</p>;
  return (
    <div class="scroll-x" tabIndex={0} role="region" aria-label={name}>
      <table>
        <thead>
          <tr>
            <th>Key</th>
            <th>Last used</th>
            <th class="num">Requests, 30 days</th>
            <th class="num">Tokens</th>
            <th class="num">Cost</th>
            <th>
              <span class="unseen">Revoke</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => (
            <tr key={key.id}>
              <td>
                {key.label || "unnamed"} <span class="mono faint">{key.id}</span> {key.variable ? <span class="tag">from a variable</span> : null}
              </td>
              <td class="soft">{key.last_used === null ? "never" : key.last_used}</td>
              <td class="num">{count(key.month.requests)}</td>
              <td class="num">{count(key.month.input_tokens + key.month.output_tokens)}</td>
              <td class="num">{money(key.month.cost, currency)}</td>
              <td class="num">
                {key.revocable ? (
                  <button type="button" class="button small risky" aria-label={`Revoke ${key.label || key.id}`} onClick={() => onRevoke(key)}>
                    Revoke
                  </button>
                ) : null}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function NewKey({ groups, onClose }: { groups: Groups; onClose: () => void }) {
  const [group, setGroup] = useState(groups.groups[0]?.name ?? "family");
  const [label, setLabel] = useState("");
  const [made, setMade] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    setError(null);
    try {
      setMade((await send<{ key: string }>("POST", "admin/keys", { group, label })).key);
    } catch (failure) {
      setError(failure);
    }
  };
  return (
    <Dialog title="New key" onClose={onClose}>
      {made !== null ? (
        <>
          <p>Enter it in the client now: it is not stored and cannot be shown again. Only its hash is in proxy.yaml.</p>
          <Code text={made} label="The new key" />
        </>
      ) : (
        <form class="grid-form" onSubmit={submit}>
          {groups.keys_required ? null : <p class="warn-text">This is the first key: from now on every client needs one.</p>}
          <div class="field">
            <label for="key-group">Group</label>
            <input id="key-group" class="input" list="groups" required value={group} onInput={(event) => setGroup(event.currentTarget.value)} />
            <datalist id="groups">
              {groups.groups.map((one) => (
                <option key={one.name} value={one.name} />
              ))}
            </datalist>
          </div>
          <div class="field">
            <label for="key-label">Whose it is</label>
            <input id="key-label" class="input" placeholder="Kitchen tablet" value={label} onInput={(event) => setLabel(event.currentTarget.value)} />
          </div>
          <Failure error={error} />
          <div class="actions">
            <button type="submit" class="button main">
              Make the key
            </button>
            <a href={link("config", "proxy.yaml")}>Limits and rights are set in proxy.yaml</a>
          </div>
        </form>
      )}
    </Dialog>
  );
}

function Sessions() {
  const found = useGet<{ sessions: Session[] }>("admin/sessions");
  const end = async (session: Session) => {
    try {
      await send("DELETE", `admin/sessions/${session.id}`);
      found.again();
    } catch (error) {
      tellError(error);
    }
  };
  return (
    <section class="block" aria-label="Signed-in browsers">
      <h2>Signed-in browsers</h2>
      <div class="scroll-x" tabIndex={0} role="region" aria-label="Signed-in browsers">
        <table>
          <thead>
            <tr>
              <th>Browser</th>
              <th>Address</th>
              <th>By</th>
              <th>Last used</th>
              <th>
                <span class="unseen">Sign out</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {found.data?.sessions.map((session) => (
              <tr key={session.id}>
                <td>
                  {/Firefox|Edg|Chrome|Safari/.exec(session.browser)?.[0] ?? (session.browser.slice(0, 40) || "unknown")} {session.own ? <span class="tag">this one</span> : null}
                </td>
                <td class="mono">{session.remote}</td>
                <td class="soft">{session.by === "key" ? "admin key" : "one-time address"}</td>
                <td class="soft">{ago(session.last_used)}</td>
                <td class="num">
                  {session.own ? null : (
                    <button type="button" class="button small" aria-label={`Sign out the browser at ${session.remote}`} onClick={() => void end(session)}>
                      Sign out
                    </button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
