/** The open section, kept after the `#` of the address so that the page works below any path prefix. */
import { signal } from "@preact/signals";

export interface Place {
  section: string;
  /** The open item of the section: a request's id, a file's path, "" for nothing. */
  item: string;
  query: URLSearchParams;
}

function read(): Place {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const slash = path.indexOf("/");
  const section = slash < 0 ? path : path.slice(0, slash);
  let item = slash < 0 ? "" : path.slice(slash + 1);
  try {
    item = decodeURIComponent(item);
  } catch {
    // A mistyped address: shown as it is.
  }
  return { section: section || "overview", item, query: new URLSearchParams(query) };
}

export const place = signal<Place>(read());
addEventListener("hashchange", () => {
  place.value = read();
});

export function link(section: string, item = "", query: Record<string, string> = {}): string {
  const search = new URLSearchParams(query).toString();
  return `#/${section}${item ? `/${encodeURIComponent(item)}` : ""}${search ? `?${search}` : ""}`;
}

export function go(section: string, item = "", query: Record<string, string> = {}): void {
  location.hash = link(section, item, query);
}
