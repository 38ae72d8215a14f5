/** Loads data for a section, and reloads them when they may have changed. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { get } from "../api";

export interface Loaded<T> {
  data: T | null;
  error: unknown;
  loading: boolean;
  again: () => void;
}

/** GET `path` as JSON; `null` loads nothing. The old data stay visible while newer ones are loading. */
export function useGet<T>(path: string | null): Loaded<T> {
  const [round, setRound] = useState(0);
  const [state, setState] = useState<{ path: string | null; data: T | null; error: unknown; loading: boolean }>({
    path,
    data: null,
    error: null,
    loading: path !== null,
  });
  useEffect(() => {
    if (path === null) {
      setState({ path, data: null, error: null, loading: false });
      return undefined;
    }
    const abort = new AbortController();
    setState((known) => ({ path, data: known.path === path ? known.data : null, error: null, loading: true }));
    get<T>(path, abort.signal).then(
      (data) => setState({ path, data, error: null, loading: false }),
      (error: unknown) => {
        if (!abort.signal.aborted) setState((known) => ({ ...known, error, loading: false }));
      },
    );
    return () => abort.abort();
  }, [path, round]);
  const again = useCallback(() => setRound((known) => known + 1), []);
  const current = state.path === path;
  return { data: current ? state.data : null, error: current ? state.error : null, loading: state.loading, again };
}

/** Call `look` every `seconds` while the page is visible and `active`. */
export function useEvery(seconds: number, look: () => void, active = true): void {
  useEffect(() => {
    if (!active) return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) look();
    }, seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds, look, active]);
}
