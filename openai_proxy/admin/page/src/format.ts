/** Numbers and times as people read them: with units, in the local time zone. */

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const shortClock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** 1234 → "1,234"; from a hundred thousand on "123k", "1.2M". */
export function count(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)}G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)}M`;
  if (value >= 1e5) return `${(value / 1e3).toFixed(0)}k`;
  return whole.format(value);
}

/** "1 request", "2 requests". */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Milliseconds → "84 ms", "1.3 s", "2 min 5 s". */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 90) return `${minutes} min ${Math.round(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  if (value < 1024 ** 2) return `${(value / 1024).toFixed(1)} KB`;
  return `${(value / 1024 ** 2).toFixed(1)} MB`;
}

/** A cost in `currency`; an unknown one is shown as unknown, never as 0. */
export function money(value: number | null | undefined, currency = "USD"): string {
  if (value === null || value === undefined) return "unknown";
  const digits = value !== 0 && Math.abs(value) < 1 ? 4 : 2;
  try {
    return new Intl.NumberFormat(undefined, {
      style: "currency",
      currency,
      minimumFractionDigits: 2,
      maximumFractionDigits: digits,
    }).format(value);
  } catch {
    return `${value.toFixed(digits)} ${currency}`;
  }
}

/** A moment: an ISO 8601 text, or seconds since the epoch. */
export type Moment = string | number | null | undefined;

export function date(moment: Moment): Date | null {
  if (moment === null || moment === undefined || moment === "") return null;
  const found = new Date(typeof moment === "number" ? moment * 1000 : moment);
  return Number.isNaN(found.getTime()) ? null : found;
}

/** The time of day, with the day if that is not today. */
export function time(moment: Moment): string {
  const at = date(moment);
  if (at === null) return "–";
  return at.toDateString() === new Date().toDateString() ? clock.format(at) : `${day.format(at)} ${shortClock.format(at)}`;
}

export function exact(moment: Moment): string {
  const at = date(moment);
  return at === null ? "" : full.format(at);
}

/** "just now", "5 min ago", "3 days ago". */
export function ago(moment: Moment, now = Date.now()): string {
  const at = date(moment);
  if (at === null) return "never";
  const seconds = (now - at.getTime()) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 5400) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}
