/** Requests to the daemon. Every address is relative to the page, so that it works behind any proxy. */
import { signal } from "@preact/signals";

/** "unknown" until the first answer; "out" shows the login. */
export const signedIn = signal<"unknown" | "in" | "out">("unknown");

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly body: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

export interface Options {
  method?: "GET" | "POST" | "PUT" | "DELETE";
  body?: unknown;
  signal?: AbortSignal;
}

export async function request(path: string, { method = "GET", body, signal: abort }: Options = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      signal: abort ?? null,
      cache: "no-store",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The daemon does not answer.", 0, "unreachable");
  }
  if (response.ok) return response;
  const found = (await response.json().catch(() => ({}))) as { error?: { message?: string; code?: string } };
  const code = found.error?.code ?? "";
  if (response.status === 401 && code !== "wrong_admin_key") signedIn.value = "out";
  const message = found.error?.message ?? `The daemon answered with status ${response.status}.`;
  throw new ApiError(message, response.status, code, found as Record<string, unknown>);
}

export async function get<T>(path: string, abort?: AbortSignal): Promise<T> {
  return (await (await request(path, abort ? { signal: abort } : {})).json()) as T;
}

export async function send<T>(method: "POST" | "PUT" | "DELETE", path: string, body?: unknown): Promise<T> {
  return (await (await request(path, { method, body: body ?? {} })).json()) as T;
}

export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
